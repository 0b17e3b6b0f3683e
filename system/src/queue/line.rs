//! The policy of the queue, without sockets or a clock: a bounded line, leases that run out, acknowledgements.
//!
//! A task is always in exactly one place: waiting, delayed or leased. It leaves by an acknowledgement alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::Task;

/// How a task is known here; shown to the outside as decimal text.
pub(super) type TaskId = u64;

/// A waiting task and since when it could have been handed out.
#[derive(Debug)]
struct Waiting {
    task: Task,
    since: Instant,
}

#[derive(Debug)]
struct Leased {
    task: Task,
    lease: u64,
    until: Instant,
}

/// A task that was handed out.
#[derive(Debug, Clone)]
pub(super) struct Handout {
    pub(super) task: Task,
    /// Proof that it was handed to this holder and to nobody since.
    pub(super) lease: u64,
    /// How long it could have been handed out before it was.
    pub(super) waited: Duration,
}

/// What happened since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Tasks taken in.
    pub(super) enqueued: u64,
    /// Tasks done with.
    pub(super) acknowledged: u64,
    /// Leases that ran out.
    pub(super) expired: u64,
}

#[derive(Debug)]
pub(super) struct Line {
    capacity: usize,
    next_id: TaskId,
    next_lease: u64,
    /// Ids grow with time, so that a task that comes back stands where it stood: before all that came after it.
    waiting: BTreeMap<TaskId, Waiting>,
    /// By the moment they may be handed out again.
    delayed: BTreeMap<(Instant, TaskId), Task>,
    leased: HashMap<TaskId, Leased>,
    /// The leases by the moment they run out.
    expiries: BTreeSet<(Instant, TaskId)>,
    counts: Counts,
}

impl Line {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            next_id: 1,
            next_lease: 1,
            waiting: BTreeMap::new(),
            delayed: BTreeMap::new(),
            leased: HashMap::new(),
            expiries: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Tasks that nobody holds, delayed ones among them, and tasks that are leased.
    pub(super) fn depth(&self) -> (usize, usize) {
        (self.waiting.len() + self.delayed.len(), self.leased.len())
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a lease would get nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Puts a task at the end of the line; `None` when the queue is full. Leased tasks count: they may come back.
    pub(super) fn enqueue(&mut self, mut task: Task, now: Instant) -> Option<TaskId> {
        if self.waiting.len() + self.delayed.len() + self.leased.len() >= self.capacity {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        task.id = id;
        self.waiting.insert(id, Waiting { task, since: now });
        self.counts.enqueued += 1;
        Some(id)
    }

    /// Hands out up to `max` tasks, first come first served, each leased for `visibility`.
    pub(super) fn lease(&mut self, max: usize, visibility: Duration, now: Instant) -> Vec<Handout> {
        self.settle(now);
        let until = now + visibility;
        let mut handouts = Vec::with_capacity(max.min(self.waiting.len()));
        while handouts.len() < max
            && let Some((id, Waiting { mut task, since })) = self.waiting.pop_first()
        {
            task.attempts += 1;
            let lease = self.next_lease;
            self.next_lease += 1;
            self.expiries.insert((until, id));
            self.leased.insert(id, Leased { task: task.clone(), lease, until });
            handouts.push(Handout { task, lease, waited: now.duration_since(since) });
        }
        handouts
    }

    /// Forgets a task for good; false when the lease is no longer held.
    pub(super) fn ack(&mut self, id: TaskId, lease: u64, now: Instant) -> bool {
        self.settle(now);
        let held = self.release(id, lease).is_some();
        self.counts.acknowledged += u64::from(held);
        held
    }

    /// Gives a task back, to be handed out again after `delay`; false when the lease is no longer held.
    pub(super) fn nack(&mut self, id: TaskId, lease: u64, delay: Duration, now: Instant) -> bool {
        self.settle(now);
        let Some(task) = self.release(id, lease) else { return false };
        self.delayed.insert((now + delay, id), task);
        self.settle(now);
        true
    }

    /// The next moment at which a delayed or leased task comes back into the line.
    pub(super) fn next_return(&self) -> Option<Instant> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let expiry = self.expiries.first().map(|(at, _)| *at);
        delayed.into_iter().chain(expiry).min()
    }

    /// Brings back what is due at `now`.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now
        {
            self.expiries.pop_first();
            if let Some(Leased { task, .. }) = self.leased.remove(&id) {
                self.counts.expired += 1;
                self.waiting.insert(id, Waiting { task, since: at });
            }
        }
        while let Some(entry) = self.delayed.first_entry()
            && entry.key().0 <= now
        {
            let ((since, id), task) = entry.remove_entry();
            self.waiting.insert(id, Waiting { task, since });
        }
    }

    fn release(&mut self, id: TaskId, lease: u64) -> Option<Task> {
        if self.leased.get(&id).is_none_or(|leased| leased.lease != lease) {
            return None;
        }
        let leased = self.leased.remove(&id)?;
        self.expiries.remove(&(leased.until, id));
        Some(leased.task)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    const VISIBILITY: Duration = Duration::from_secs(30);

    fn line(tasks: u64) -> Line {
        let mut line = Line::new(1000);
        for n in 1..=tasks {
            assert_eq!(line.enqueue(Task::for_test(), Instant::now()), Some(n));
        }
        line
    }

    fn ids(handouts: &[Handout]) -> Vec<TaskId> {
        handouts.iter().map(|handout| handout.task.id).collect()
    }

    #[test]
    fn first_come_first_served_and_nothing_is_handed_out_twice() {
        let (mut line, now) = (line(5), Instant::now());
        assert_eq!(ids(&line.lease(3, VISIBILITY, now)), [1, 2, 3]);
        assert_eq!(ids(&line.lease(3, VISIBILITY, now)), [4, 5]);
        assert!(line.lease(3, VISIBILITY, now).is_empty());
    }

    #[test]
    fn a_lease_that_runs_out_goes_to_the_front_and_its_holder_comes_too_late() {
        let (mut line, now) = (line(2), Instant::now());
        let first = line.lease(1, VISIBILITY, now).remove(0);
        assert_eq!(line.next_return(), Some(now + VISIBILITY));
        let later = now + VISIBILITY;
        let again = line.lease(1, VISIBILITY, later).remove(0);
        assert_eq!((again.task.id, again.task.attempts), (1, 2));
        assert!(!line.ack(1, first.lease, later), "the lease has passed to somebody else");
        assert!(line.ack(1, again.lease, later));
        assert_eq!(line.counts(), Counts { enqueued: 2, acknowledged: 1, expired: 1 });
    }

    #[test]
    fn tasks_that_come_back_together_keep_their_order_and_go_before_the_others() {
        let (mut line, now) = (line(4), Instant::now());
        let held = line.lease(3, VISIBILITY, now);
        assert!(line.nack(3, held[2].lease, VISIBILITY / 2, now));
        assert_eq!(ids(&line.lease(4, VISIBILITY, now + VISIBILITY)), [1, 2, 3, 4]);
    }

    #[test]
    fn a_task_has_waited_since_it_could_be_handed_out() {
        let second = Duration::from_secs(1);
        let (mut line, now) = (Line::new(1), Instant::now());
        line.enqueue(Task::for_test(), now).unwrap();
        assert_eq!(line.lease(1, 4 * second, now + second)[0].waited, second);
        // The lease ran out at 5 s; it was found only at 8 s.
        let again = line.lease(1, 4 * second, now + 8 * second).remove(0);
        assert_eq!(again.waited, 3 * second);
        assert!(line.nack(1, again.lease, second, now + 9 * second));
        assert_eq!(line.lease(1, 4 * second, now + 12 * second)[0].waited, 2 * second);
    }

    #[test]
    fn a_task_given_back_waits_for_its_delay() {
        let (mut line, now) = (line(1), Instant::now());
        let handout = line.lease(1, VISIBILITY, now).remove(0);
        assert!(line.nack(1, handout.lease, Duration::from_secs(5), now));
        assert!(line.lease(1, VISIBILITY, now).is_empty());
        assert_eq!(ids(&line.lease(1, VISIBILITY, now + Duration::from_secs(5))), [1]);
    }

    #[test]
    fn a_full_queue_takes_no_more_until_a_task_is_done() {
        let (mut line, now) = (Line::new(1), Instant::now());
        line.enqueue(Task::for_test(), Instant::now()).unwrap();
        let handout = line.lease(1, VISIBILITY, now).remove(0);
        assert_eq!(line.enqueue(Task::for_test(), Instant::now()), None, "a leased task may come back");
        assert!(line.ack(handout.task.id, handout.lease, now));
        assert!(line.enqueue(Task::for_test(), Instant::now()).is_some());
    }

    /// Whatever the order of calls: no task is lost, none has two holders, each ends exactly once.
    #[test]
    fn no_task_is_lost_or_held_twice() {
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut line, mut now) = (Line::new(50), Instant::now());
            let mut held: HashMap<TaskId, (u64, Instant)> = HashMap::new();
            let (mut accepted, mut done) = (BTreeSet::new(), BTreeSet::new());
            let mut newest = 0;
            for _ in 0..2000 {
                match random.random_range(0..5) {
                    0 => accepted.extend(line.enqueue(Task::for_test(), Instant::now())),
                    1 => {
                        let handouts = line.lease(random.random_range(1..4), VISIBILITY, now);
                        assert!(ids(&handouts).is_sorted(), "seed {seed}: first come first served");
                        // What was never handed out comes in the order of its arrival.
                        for handout in handouts.iter().filter(|handout| handout.task.attempts == 1) {
                            assert!(handout.task.id > newest, "seed {seed}: first come first served");
                            newest = handout.task.id;
                        }
                        for handout in handouts {
                            let holder = held.insert(handout.task.id, (handout.lease, now + VISIBILITY));
                            assert!(holder.is_none_or(|(_, until)| until <= now), "seed {seed}: held twice");
                        }
                    }
                    2 => now += Duration::from_secs(random.random_range(0..20)),
                    action => {
                        let Some((&id, &(lease, until))) = held.iter().next() else { continue };
                        held.remove(&id);
                        let ends = if action == 3 {
                            line.ack(id, lease, now)
                        } else {
                            line.nack(id, lease, Duration::from_secs(random.random_range(0..9)), now)
                        };
                        assert_eq!(ends, until > now, "seed {seed}: a lease holds until it runs out");
                        if ends && action == 3 {
                            assert!(done.insert(id), "seed {seed}: done twice");
                        }
                    }
                }
            }
            now += Duration::from_secs(3600);
            done.extend(ids(&line.lease(usize::MAX, VISIBILITY, now)));
            assert_eq!(accepted, done, "seed {seed}");
        }
    }
}
