use super::*;

const NOW: u64 = 10_000_000_000_000;

fn errors(form: &Form) -> Vec<(FormField, FieldError)> {
    form.search(NOW).unwrap_err().into_iter().collect()
}

#[test]
fn an_empty_form_does_not_restrict_the_search() {
    let query = Form::default().search(NOW).unwrap().query;
    assert_eq!((query.service, query.operation, query.tags), (None, None, Vec::new()));
    assert_eq!((query.start_ns, query.duration_ns, query.limit), (0..=u64::MAX, 0..=u64::MAX, DEFAULT_LIMIT));
}

#[test]
fn each_field_restricts_the_search() {
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
    let query = form.search(NOW).unwrap().query;
    assert_eq!((query.service.as_deref(), query.operation.as_deref()), (Some("cart"), Some("GET /")));
    assert_eq!(query.tags, [("a".to_owned(), "b".to_owned())]);
    assert_eq!((query.duration_ns, query.limit), (1_000_000..=2_000_000, 7));
    assert_eq!(query.start_ns, NOW - 300_000_000_000..=u64::MAX);
}

#[test]
fn explicit_times_override_the_relative_range() {
    let form = Form {
        last: "5m".to_owned(),
        from: "1970-01-01T00:00:01Z".to_owned(),
        to: "1970-01-01T01:00:02.5+01:00".to_owned(),
        ..Form::default()
    };
    assert_eq!(form.search(NOW).unwrap().query.start_ns, 1_000_000_000..=2_500_000_000);
    let open = Form { to: String::new(), ..form };
    assert_eq!(open.search(NOW).unwrap().query.start_ns, 1_000_000_000..=u64::MAX);
}

#[test]
fn reports_the_errors_of_all_fields() {
    let form = Form {
        tags: "oops".to_owned(),
        min_duration: "5".to_owned(),
        max_duration: "soon".to_owned(),
        from: "yesterday".to_owned(),
        to: "1969-12-31T00:00:00Z".to_owned(),
        limit: "1501".to_owned(),
        sort: "shortest".to_owned(),
        after: "20".to_owned(),
        ..Form::default()
    };
    let expected = [
        (FormField::Tags, FieldError::Tags(ParseTagsError::NotAPair("oops".to_owned()))),
        (FormField::MinDuration, FieldError::Duration),
        (FormField::MaxDuration, FieldError::Duration),
        (FormField::From, FieldError::Time),
        (FormField::To, FieldError::Time),
        (FormField::Limit, FieldError::Limit),
        (FormField::Sort, FieldError::Sort),
        (FormField::After, FieldError::After(ParsePositionError)),
    ];
    assert_eq!(errors(&form), expected);
    let last = Form { last: "often".to_owned(), ..Form::default() };
    assert_eq!(errors(&last), [(FormField::Last, FieldError::Duration)]);
}

#[test]
fn reversed_bounds_are_an_error_of_the_upper_bound() {
    let form = Form {
        min_duration: "2s".to_owned(),
        max_duration: "1s".to_owned(),
        from: "2026-01-02T00:00:00Z".to_owned(),
        to: "2026-01-01T00:00:00Z".to_owned(),
        ..Form::default()
    };
    let expected =
        [(FormField::MaxDuration, FieldError::MaxBelowMin), (FormField::To, FieldError::EndBeforeStart)];
    assert_eq!(errors(&form), expected);
}

#[test]
fn a_link_describes_the_same_search() {
    let form = Form {
        service: "a&b".to_owned(),
        tags: "a=\"b c\"".to_owned(),
        sort: LONGEST.to_owned(),
        after: "1-2".to_owned(),
        ..Form::default()
    };
    let after = "3-4".parse().unwrap();
    assert_eq!(form.link(Some(after)), "service=a%26b&tags=a%3D%22b%20c%22&sort=longest&after=3%2D4");
    assert_eq!(form.link(None), "service=a%26b&tags=a%3D%22b%20c%22&sort=longest");
    assert!(form.is_restricted() && !Form { after: "1-2".to_owned(), ..Form::default() }.is_restricted());
}
