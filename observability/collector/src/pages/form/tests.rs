use super::*;

const NOW: u64 = 10_000_000_000_000;

fn mistakes(form: &Form) -> Vec<(Field, Mistake)> {
    form.query(NOW).unwrap_err().into_iter().collect()
}

#[test]
fn an_empty_form_asks_for_the_most_recent_traces() {
    let query = Form::default().query(NOW).unwrap();
    assert_eq!((query.service, query.operation, query.tags), (None, None, Vec::new()));
    assert_eq!((query.start_ns, query.duration_ns, query.limit), (0..=u64::MAX, 0..=u64::MAX, LIMIT));
}

#[test]
fn every_field_narrows_the_search() {
    let form = Form {
        service: " cart ".to_owned(),
        operation: "GET /".to_owned(),
        tags: "a=b".to_owned(),
        min_duration: "1ms".to_owned(),
        max_duration: " 2ms".to_owned(),
        last: "5m".to_owned(),
        limit: "7".to_owned(),
        ..Form::default()
    };
    let query = form.query(NOW).unwrap();
    assert_eq!((query.service.as_deref(), query.operation.as_deref()), (Some("cart"), Some("GET /")));
    assert_eq!(query.tags, [("a".to_owned(), "b".to_owned())]);
    assert_eq!((query.duration_ns, query.limit), (1_000_000..=2_000_000, 7));
    assert_eq!(query.start_ns, NOW - 300_000_000_000..=u64::MAX);
}

#[test]
fn times_that_are_given_count_more_than_the_time_up_to_now() {
    let form = Form {
        last: "5m".to_owned(),
        from: "1970-01-01T00:00:01Z".to_owned(),
        to: "1970-01-01T01:00:02.5+01:00".to_owned(),
        ..Form::default()
    };
    assert_eq!(form.query(NOW).unwrap().start_ns, 1_000_000_000..=2_500_000_000);
    let open = Form { to: String::new(), ..form };
    assert_eq!(open.query(NOW).unwrap().start_ns, 1_000_000_000..=u64::MAX);
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_where() {
    let form = Form {
        tags: "oops".to_owned(),
        min_duration: "5".to_owned(),
        max_duration: "soon".to_owned(),
        from: "yesterday".to_owned(),
        to: "1969-12-31T00:00:00Z".to_owned(),
        limit: "1501".to_owned(),
        ..Form::default()
    };
    let expected = [
        (Field::Tags, Mistake::Tags(ParseTagsError::NoValue("oops".to_owned()))),
        (Field::MinDuration, Mistake::Duration),
        (Field::MaxDuration, Mistake::Duration),
        (Field::From, Mistake::Time),
        (Field::To, Mistake::Time),
        (Field::Limit, Mistake::Limit),
    ];
    assert_eq!(mistakes(&form), expected);
    let last = Form { last: "often".to_owned(), ..Form::default() };
    assert_eq!(mistakes(&last), [(Field::Last, Mistake::Duration)]);
}

#[test]
fn bounds_the_wrong_way_round_are_a_mistake_of_the_second() {
    let form = Form {
        min_duration: "2s".to_owned(),
        max_duration: "1s".to_owned(),
        from: "2026-01-02T00:00:00Z".to_owned(),
        to: "2026-01-01T00:00:00Z".to_owned(),
        ..Form::default()
    };
    let expected = [(Field::MaxDuration, Mistake::ShorterThanShortest), (Field::To, Mistake::BeforeStart)];
    assert_eq!(mistakes(&form), expected);
}
