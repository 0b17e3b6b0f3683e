//! Which tests may run at the same time. Most share the machine; a browser test needs it for itself.

use std::sync::{Condvar, Mutex};

static USE: Mutex<Use> = Mutex::new(Use { shares: 0, exclusive: false });
static RELEASED: Condvar = Condvar::new();

struct Use {
    shares: usize,
    exclusive: bool,
}

/// Blocks until `is_free`, then changes the state.
fn acquire(is_free: impl Fn(&Use) -> bool, take: impl FnOnce(&mut Use)) {
    let guard = USE.lock().unwrap();
    let mut guard = RELEASED.wait_while(guard, |state| !is_free(state)).unwrap();
    take(&mut guard);
}

fn release(give_back: impl FnOnce(&mut Use)) {
    // A test that failed elsewhere must still release the machine.
    give_back(&mut USE.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    RELEASED.notify_all();
}

/// Held by each stack. A test may hold several: a share waits only for a running exclusive test, never for a waiting
/// one.
#[derive(Debug)]
pub(super) struct MachineShare(());

impl MachineShare {
    pub(super) fn acquire() -> Self {
        acquire(|state| !state.exclusive, |state| state.shares += 1);
        Self(())
    }
}

impl Drop for MachineShare {
    fn drop(&mut self) {
        release(|state| state.shares -= 1);
    }
}

/// Held by a test that must run without any other stack.
#[derive(Debug)]
pub(crate) struct ExclusiveMachine(());

impl ExclusiveMachine {
    pub(crate) fn acquire() -> Self {
        acquire(|state| state.shares == 0 && !state.exclusive, |state| state.exclusive = true);
        Self(())
    }
}

impl Drop for ExclusiveMachine {
    fn drop(&mut self) {
        release(|state| state.exclusive = false);
    }
}
