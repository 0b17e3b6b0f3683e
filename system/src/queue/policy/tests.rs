use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::value::RawValue;

use super::*;
use crate::api::EnqueueRequest;

const LIMITS: Limits =
    Limits { tasks: 1000, bytes: usize::MAX, attempts: 3, first_backoff: Duration::from_secs(1) };

const VISIBILITY: Duration = Duration::from_secs(30);

/// Longer than every backoff of [`LIMITS`].
const BACKOFF: Duration = Duration::from_secs(60);

fn task() -> Task {
    task_of(None, "{}".into())
}

fn task_of(event_id: Option<&str>, payload: String) -> Task {
    Task::new(EnqueueRequest {
        task_type: "test".into(),
        payload: RawValue::from_string(payload).unwrap(),
        otel: BTreeMap::new(),
        event_id: event_id.map(str::to_owned),
    })
}

fn failed_for(delay: Duration) -> FailedAttempt {
    FailedAttempt { delay: Some(delay), reason: None }
}

fn queue_of(tasks: u64) -> LeaseQueue {
    let mut queue = LeaseQueue::new(LIMITS);
    for n in 1..=tasks {
        assert_eq!(queue.enqueue(task(), Instant::now()), Some(Enqueued::Added(n)));
    }
    queue
}

fn added(enqueued: Enqueued) -> TaskId {
    let Enqueued::Added(id) = enqueued else { panic!("{enqueued:?}") };
    id
}

fn ids(deliveries: &[Leasing]) -> Vec<TaskId> {
    deliveries.iter().map(|delivery| delivery.id).collect()
}

#[test]
fn tasks_are_leased_in_order_and_once() {
    let (mut queue, now) = (queue_of(5), Instant::now());
    assert_eq!(ids(&queue.lease(3, VISIBILITY, now)), [1, 2, 3]);
    assert_eq!(ids(&queue.lease(3, VISIBILITY, now)), [4, 5]);
    assert!(queue.lease(3, VISIBILITY, now).is_empty());
}

#[test]
fn a_task_whose_lease_expires_is_redelivered_first_and_the_old_lease_is_void() {
    let (mut queue, now) = (queue_of(2), Instant::now());
    let first = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!(queue.next_change(), Some(now + VISIBILITY));
    assert!(!queue.ack(1, first.lease, now + VISIBILITY), "the lease has expired");
    let later = now + VISIBILITY + BACKOFF;
    let again = queue.lease(1, VISIBILITY, later).remove(0);
    assert_eq!((again.id, again.attempts), (1, 2));
    assert!(!queue.ack(1, first.lease, later), "another lease is valid");
    assert!(queue.ack(1, again.lease, later));
    let counts =
        Counts { enqueued: 2, attempts: 2, acknowledged: 1, expired: 1, stale: 2, ..Counts::default() };
    assert_eq!(queue.counts(), counts);
}

#[test]
fn redelivered_tasks_keep_their_order_and_precede_new_ones() {
    let (mut queue, now) = (queue_of(4), Instant::now());
    let held = queue.lease(3, VISIBILITY, now);
    assert!(queue.nack(3, held[2].lease, failed_for(VISIBILITY / 2), now));
    assert_eq!(ids(&queue.lease(4, VISIBILITY, now + VISIBILITY + BACKOFF)), [1, 2, 3, 4]);
}

#[test]
fn the_wait_of_a_task_starts_when_it_becomes_available() {
    let second = Duration::from_secs(1);
    let (mut queue, now) = (LeaseQueue::new(LIMITS), Instant::now());
    queue.enqueue(task(), now).unwrap();
    assert_eq!(queue.lease(1, 4 * second, now + second)[0].waited, second);
    let expiry = now + 5 * second;
    queue.advance(expiry);
    let available = queue.next_change().unwrap();
    let again = queue.lease(1, 4 * second, available + 3 * second).remove(0);
    assert_eq!(again.waited, 3 * second);
    let returned = available + 4 * second;
    assert!(queue.nack(1, again.lease, failed_for(second), returned));
    assert_eq!(queue.lease(1, 4 * second, returned + 3 * second)[0].waited, 2 * second);
}

#[test]
fn a_returned_task_is_available_after_its_delay() {
    let (mut queue, now) = (queue_of(1), Instant::now());
    let delivery = queue.lease(1, VISIBILITY, now).remove(0);
    assert!(queue.nack(1, delivery.lease, failed_for(Duration::from_secs(5)), now));
    assert!(queue.lease(1, VISIBILITY, now).is_empty());
    assert_eq!(ids(&queue.lease(1, VISIBILITY, now + Duration::from_secs(5))), [1]);
}

/// Both kinds of failure: the first attempt expires, the second is returned without a delay.
#[test]
fn a_failed_attempt_is_followed_by_the_backoff_of_its_number() {
    let (mut queue, now) = (queue_of(1), Instant::now());
    queue.lease(1, VISIBILITY, now);
    let expired = now + VISIBILITY;
    queue.advance(expired);
    let available = queue.next_change().unwrap();
    assert!((0.5..=1.0).contains(&(available - expired).as_secs_f64()));
    let second = queue.lease(1, VISIBILITY, available).remove(0);
    assert!(queue.nack(1, second.lease, FailedAttempt::default(), available));
    assert!((1.0..=2.0).contains(&(queue.next_change().unwrap() - available).as_secs_f64()));
}

/// Returned with a delay, without one, and expired: each counts, because the attempt is counted when the task is leased.
#[test]
fn a_task_whose_attempts_are_used_up_is_a_dead_letter_until_it_is_redriven() {
    let (mut queue, mut now) = (queue_of(2), Instant::now());
    for failure in [Some(Duration::ZERO), None] {
        let poison = queue.lease(1, VISIBILITY, now).remove(0);
        let reason = Some("the database is down".to_owned());
        assert!(queue.nack(1, poison.lease, FailedAttempt { delay: failure, reason }, now));
        now += BACKOFF;
    }
    assert_eq!(queue.lease(1, VISIBILITY, now)[0].attempts, 3);
    now += VISIBILITY + BACKOFF;
    assert_eq!(ids(&queue.lease(2, VISIBILITY, now)), [2], "nothing waits for a dead letter");
    assert_eq!(queue.depth(), Depth { waiting: 0, leased: 1, dead: 1, bytes: 2 * task().bytes() });
    let (id, dead) = queue.dead(0, 10).remove(0);
    assert_eq!((id, dead.attempts, dead.reason.as_str()), (1, 3, "expired"));

    assert_eq!(queue.redrive(Some(&[1, 2, 99]), now), 1, "only dead letters are redriven");
    assert!(queue.dead(0, 10).is_empty());
    let redriven = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!((redriven.id, redriven.attempts), (1, 1));
    assert!(queue.ack(1, redriven.lease, now));
}

#[test]
fn dead_letters_are_listed_in_pages_and_have_their_reasons() {
    let limits = Limits { attempts: 1, ..LIMITS };
    let (mut queue, now) = (LeaseQueue::new(limits), Instant::now());
    for _ in 0..5 {
        queue.enqueue(task(), now).unwrap();
    }
    for Leasing { id, lease, .. } in queue.lease(5, VISIBILITY, now).into_iter().rev() {
        let reason = (id != 5).then(|| format!("reason {id}"));
        assert!(queue.nack(id, lease, FailedAttempt { delay: None, reason }, now));
    }
    let page =
        |after| queue.dead(after, 2).into_iter().map(|(id, dead)| (id, dead.reason)).collect::<Vec<_>>();
    assert_eq!(page(0), [(1, "reason 1".to_owned()), (2, "reason 2".to_owned())]);
    assert_eq!(page(2), [(3, "reason 3".to_owned()), (4, "reason 4".to_owned())]);
    assert_eq!(page(4), [(5, "unknown".to_owned())]);
    assert!(page(5).is_empty());
    assert_eq!(queue.redrive(None, now), 5);
    assert_eq!(ids(&queue.lease(5, VISIBILITY, now)), [1, 2, 3, 4, 5]);
}

#[test]
fn dead_letters_count_towards_the_limits() {
    let limits = Limits { tasks: 1, attempts: 1, ..LIMITS };
    let (mut queue, now) = (LeaseQueue::new(limits), Instant::now());
    queue.enqueue(task(), now).unwrap();
    let bytes = queue.depth().bytes;
    queue.lease(1, VISIBILITY, now);
    queue.advance(now + VISIBILITY);
    assert_eq!((queue.depth().dead, queue.depth().bytes), (1, bytes));
    assert_eq!(queue.enqueue(task(), now), None);
}

#[test]
fn an_event_is_held_once_until_its_task_is_acknowledged() {
    let limits = Limits { attempts: 1, ..LIMITS };
    let (mut queue, now) = (LeaseQueue::new(limits), Instant::now());
    let again = |queue: &mut LeaseQueue| queue.enqueue(task_of(Some("7"), "2".into()), now).unwrap();
    assert_eq!(again(&mut queue), Enqueued::Added(1));
    assert_eq!(queue.enqueue(task_of(Some("8"), "1".into()), now), Some(Enqueued::Added(2)));
    let bytes = queue.depth().bytes;
    assert_eq!(again(&mut queue), Enqueued::Duplicate(1), "waiting");
    let leased = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!(again(&mut queue), Enqueued::Duplicate(1), "leased");
    assert!(queue.nack(1, leased.lease, FailedAttempt::default(), now));
    assert_eq!(again(&mut queue), Enqueued::Duplicate(1), "dead");
    assert_eq!((queue.depth().bytes, queue.counts().duplicates), (bytes, 3), "duplicates add nothing");
    queue.redrive(None, now);
    let redriven = queue.lease(1, VISIBILITY, now).remove(0);
    assert!(queue.ack(1, redriven.lease, now));
    assert_eq!(again(&mut queue), Enqueued::Added(3), "the event's task was acknowledged");
}

#[test]
fn a_full_queue_accepts_no_task_until_one_is_acknowledged() {
    let (mut queue, now) = (LeaseQueue::new(Limits { tasks: 1, ..LIMITS }), Instant::now());
    queue.enqueue(task(), Instant::now()).unwrap();
    let delivery = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!(queue.enqueue(task(), Instant::now()), None, "a leased task may be redelivered");
    assert!(queue.ack(delivery.id, delivery.lease, now));
    assert!(queue.enqueue(task(), Instant::now()).is_some());
}

/// For any order of calls: no task is lost, none has two valid leases, each is acknowledged at most once.
#[test]
fn no_task_is_lost_or_leased_twice() {
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut queue, mut now) = (LeaseQueue::new(Limits { tasks: 50, ..LIMITS }), Instant::now());
        let mut held: HashMap<TaskId, (u64, Instant)> = HashMap::new();
        let (mut accepted, mut delivered, mut done) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for step in 0..2000 {
            if step % 50 == 0 {
                queue.redrive(None, now);
            }
            match random.random_range(0..5) {
                0 => accepted.extend(queue.enqueue(task(), Instant::now()).map(added)),
                1 => {
                    let deliveries = queue.lease(random.random_range(1..4), VISIBILITY, now);
                    assert!(ids(&deliveries).is_sorted(), "seed {seed}: tasks out of order");
                    // First deliveries are in the order of arrival.
                    for id in ids(&deliveries) {
                        let newest = delivered.last().copied().unwrap_or_default();
                        assert!(!delivered.insert(id) || id > newest, "seed {seed}: tasks out of order");
                    }
                    for delivery in deliveries {
                        let holder = held.insert(delivery.id, (delivery.lease, now + VISIBILITY));
                        assert!(holder.is_none_or(|(_, until)| until <= now), "seed {seed}: two leases");
                    }
                }
                2 => now += Duration::from_secs(random.random_range(0..20)),
                action => {
                    let Some((&id, &(lease, until))) = held.iter().next() else { continue };
                    held.remove(&id);
                    let ends = if action == 3 {
                        queue.ack(id, lease, now)
                    } else {
                        queue.nack(id, lease, failed_for(Duration::from_secs(random.random_range(0..9))), now)
                    };
                    assert_eq!(ends, until > now, "seed {seed}: a lease is valid until it expires");
                    if ends && action == 3 {
                        assert!(done.insert(id), "seed {seed}: acknowledged twice");
                    }
                }
            }
        }
        now += Duration::from_secs(3600);
        done.extend(ids(&queue.lease(usize::MAX, VISIBILITY, now)));
        done.extend(queue.dead(0, usize::MAX).into_iter().map(|(id, _)| id));
        assert_eq!(accepted, done, "seed {seed}");
    }
}

#[test]
fn tasks_are_bounded_in_bytes_until_they_are_acknowledged() {
    let payload = format!("\"{}\"", "x".repeat(60_000));
    let large = || task_of(None, payload.clone());
    let (mut queue, now) = (LeaseQueue::new(Limits { bytes: 130_000, ..LIMITS }), Instant::now());
    assert_eq!(queue.enqueue(large(), now).map(added), Some(1));
    assert_eq!(queue.enqueue(large(), now).map(added), Some(2));
    assert_eq!(queue.enqueue(large(), now), None, "the third exceeds 130 kB");
    assert!((120_000..130_000).contains(&queue.depth().bytes), "{}", queue.depth().bytes);
    let leased = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!(queue.enqueue(large(), now), None, "a leased task may come back");
    assert!(queue.ack(leased.id, leased.lease, now));
    assert_eq!(queue.enqueue(large(), now).map(added), Some(3));
}
