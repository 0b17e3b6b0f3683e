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

impl<T: Clone> ChangedCopies<T> {
    /// Returns the copy of `original`; `change` is called the first time.
    pub(super) fn of(&mut self, original: &Arc<T>, change: impl FnOnce(&mut T)) -> Arc<T> {
        let (_, changed) = self.0.entry(Arc::as_ptr(original)).or_insert_with(|| {
            let mut copy = T::clone(original);
            change(&mut copy);
            (Arc::clone(original), Arc::new(copy))
        });
        Arc::clone(changed)
    }
}
