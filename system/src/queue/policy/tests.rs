use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

fn task() -> Task {
    Task::new("test".into(), RawValue::from_string("{}".into()).unwrap(), BTreeMap::new())
}

const VISIBILITY: Duration = Duration::from_secs(30);

fn queue_of(tasks: u64) -> LeaseQueue {
    let mut queue = LeaseQueue::new(1000, usize::MAX);
    for n in 1..=tasks {
        assert_eq!(queue.enqueue(task(), Instant::now()), Some(n));
    }
    queue
}

fn ids(deliveries: &[Delivery]) -> Vec<TaskId> {
    deliveries.iter().map(|delivery| delivery.task.id).collect()
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
    let later = now + VISIBILITY;
    let again = queue.lease(1, VISIBILITY, later).remove(0);
    assert_eq!((again.task.id, again.task.attempts), (1, 2));
    assert!(!queue.ack(1, first.lease, later), "the lease has expired");
    assert!(queue.ack(1, again.lease, later));
    assert_eq!(queue.counts(), Counts { enqueued: 2, acknowledged: 1, expired: 1 });
}

#[test]
fn redelivered_tasks_keep_their_order_and_precede_new_ones() {
    let (mut queue, now) = (queue_of(4), Instant::now());
    let held = queue.lease(3, VISIBILITY, now);
    assert!(queue.nack(3, held[2].lease, VISIBILITY / 2, now));
    assert_eq!(ids(&queue.lease(4, VISIBILITY, now + VISIBILITY)), [1, 2, 3, 4]);
}

#[test]
fn the_wait_of_a_task_starts_when_it_becomes_available() {
    let second = Duration::from_secs(1);
    let (mut queue, now) = (LeaseQueue::new(1, usize::MAX), Instant::now());
    queue.enqueue(task(), now).unwrap();
    assert_eq!(queue.lease(1, 4 * second, now + second)[0].waited, second);
    // The lease expired at 5 s; the task is leased at 8 s.
    let again = queue.lease(1, 4 * second, now + 8 * second).remove(0);
    assert_eq!(again.waited, 3 * second);
    assert!(queue.nack(1, again.lease, second, now + 9 * second));
    assert_eq!(queue.lease(1, 4 * second, now + 12 * second)[0].waited, 2 * second);
}

#[test]
fn a_returned_task_is_available_after_its_delay() {
    let (mut queue, now) = (queue_of(1), Instant::now());
    let delivery = queue.lease(1, VISIBILITY, now).remove(0);
    assert!(queue.nack(1, delivery.lease, Duration::from_secs(5), now));
    assert!(queue.lease(1, VISIBILITY, now).is_empty());
    assert_eq!(ids(&queue.lease(1, VISIBILITY, now + Duration::from_secs(5))), [1]);
}

#[test]
fn a_full_queue_accepts_no_task_until_one_is_acknowledged() {
    let (mut queue, now) = (LeaseQueue::new(1, usize::MAX), Instant::now());
    queue.enqueue(task(), Instant::now()).unwrap();
    let delivery = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!(queue.enqueue(task(), Instant::now()), None, "a leased task may be redelivered");
    assert!(queue.ack(delivery.task.id, delivery.lease, now));
    assert!(queue.enqueue(task(), Instant::now()).is_some());
}

/// For any order of calls: no task is lost, none has two valid leases, each is acknowledged once.
#[test]
fn no_task_is_lost_or_leased_twice() {
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut queue, mut now) = (LeaseQueue::new(50, usize::MAX), Instant::now());
        let mut held: HashMap<TaskId, (u64, Instant)> = HashMap::new();
        let (mut accepted, mut done) = (BTreeSet::new(), BTreeSet::new());
        let mut newest = 0;
        for _ in 0..2000 {
            match random.random_range(0..5) {
                0 => accepted.extend(queue.enqueue(task(), Instant::now())),
                1 => {
                    let deliveries = queue.lease(random.random_range(1..4), VISIBILITY, now);
                    assert!(ids(&deliveries).is_sorted(), "seed {seed}: tasks out of order");
                    // First deliveries are in the order of arrival.
                    for delivery in deliveries.iter().filter(|delivery| delivery.task.attempts == 1) {
                        assert!(delivery.task.id > newest, "seed {seed}: tasks out of order");
                        newest = delivery.task.id;
                    }
                    for delivery in deliveries {
                        let holder = held.insert(delivery.task.id, (delivery.lease, now + VISIBILITY));
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
                        queue.nack(id, lease, Duration::from_secs(random.random_range(0..9)), now)
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
        assert_eq!(accepted, done, "seed {seed}");
    }
}

#[test]
fn tasks_are_bounded_in_bytes_until_they_are_acknowledged() {
    let payload = format!("\"{}\"", "x".repeat(60_000));
    let large = || Task::new("test".into(), RawValue::from_string(payload.clone()).unwrap(), BTreeMap::new());
    let (mut queue, now) = (LeaseQueue::new(1000, 130_000), Instant::now());
    assert_eq!(queue.enqueue(large(), now), Some(1));
    assert_eq!(queue.enqueue(large(), now), Some(2));
    assert_eq!(queue.enqueue(large(), now), None, "the third exceeds 130 kB");
    assert!((120_000..130_000).contains(&queue.bytes()), "{}", queue.bytes());
    let leased = queue.lease(1, VISIBILITY, now).remove(0);
    assert_eq!(queue.enqueue(large(), now), None, "a leased task may come back");
    assert!(queue.ack(leased.task.id, leased.lease, now));
    assert_eq!(queue.enqueue(large(), now), Some(3));
}
