//! Changed copies of the resources and scopes that spans share.

use std::collections::HashMap;
use std::sync::Arc;

/// One changed copy for each original, by address. The map keeps the originals alive so that no address is reused.
pub(super) struct ChangedCopies<T>(HashMap<*const T, (Arc<T>, Arc<T>)>);

impl<T> Default for ChangedCopies<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ChangedCopies<T> {
    /// Returns the changed copy of `original`. The first time, `change` makes it from a reference to the original, which it
    /// may also keep.
    pub(super) fn of(&mut self, original: &Arc<T>, change: impl FnOnce(&mut Arc<T>)) -> Arc<T> {
        let (_, changed) = self.0.entry(Arc::as_ptr(original)).or_insert_with(|| {
            let mut copy = Arc::clone(original);
            change(&mut copy);
            (Arc::clone(original), copy)
        });
        Arc::clone(changed)
    }
}
