//! The number of processes of each role.

use std::str::FromStr;

use system::role::Role;

use super::error::Error;

/// Maximum number of processes of one role.
pub(crate) const MAX: usize = 16;

/// Roles that can run in several processes.
const SCALABLE: [Role; 6] =
    [Role::Gateway, Role::Cache, Role::Search, Role::Booking, Role::Queue, Role::Notification];

/// The number of processes of one role, as `ROLE=N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoleCount {
    role: Role,
    count: usize,
}

impl FromStr for RoleCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = SCALABLE.map(Role::command).join(", ");
        let (name, count) =
            text.split_once('=').ok_or("expected ROLE=N, such as gateway=4 (without spaces)")?;
        let role = Role::ALL.into_iter().find(|role| [role.command(), role.service_name()].contains(&name));
        let role = match role {
            Some(role) if SCALABLE.contains(&role) => role,
            Some(role) => return Err(format!("a stack has one {role}; the roles to scale are {names}")),
            None => return Err(format!("unknown role '{name}': expected one of {names}")),
        };
        match count.parse() {
            Ok(count @ 1..=MAX) => Ok(Self { role, count }),
            _ => Err(format!("expected a number of processes from 1 to {MAX}")),
        }
    }
}

/// The number of processes of every role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scale(Vec<RoleCount>);

impl Scale {
    /// Returns the scale with these counts; the last one of a role applies.
    pub(crate) fn new(counts: &[RoleCount]) -> Self {
        Self(counts.to_owned())
    }

    /// Returns the number of processes of `role`: two gateways and one of each other role by default.
    pub(crate) fn of(&self, role: Role) -> usize {
        let default = if role == Role::Gateway { 2 } else { 1 };
        self.0.iter().rfind(|given| given.role == role).map_or(default, |given| given.count)
    }

    /// Returns the number of role processes, the collector included.
    pub(crate) fn processes(&self) -> usize {
        Role::ALL.into_iter().map(|role| self.of(role)).sum()
    }

    /// Rejects several processes of a role whose state would be in the memory of each.
    pub(crate) fn check(&self, storages: &Storages) -> Result<(), Error> {
        for (role, storage, variable, scheme, why) in [
            (
                Role::Queue,
                &storages.queue,
                "QUEUE_BACKEND",
                "nats://",
                "each would have tasks of its own in memory, and a task would be acknowledged at the wrong one",
            ),
            (
                Role::Cache,
                &storages.cache,
                "CACHE_BACKEND",
                "redis://",
                "each would have values of its own in memory, and a delete would leave the other's value stale",
            ),
        ] {
            let count = self.of(role);
            if count > 1 && !storage.as_deref().is_some_and(|url| url.trim().starts_with(scheme)) {
                return Err(Error::NoSharedStorage { role, count, variable, scheme, why });
            }
        }
        Ok(())
    }
}

/// URLs of the servers that store tasks and cached values; `None` stores them in the memory of the role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storages {
    pub(crate) queue: Option<String>,
    pub(crate) cache: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(counts: &[&str]) -> Scale {
        Scale::new(&counts.iter().map(|count| count.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn counts_the_processes_of_each_role() {
        assert_eq!(Scale::default().processes(), 10);
        let scale = scale(&["gateway=4", "booking_service=2", "gateway=3"]);
        assert_eq!((scale.of(Role::Gateway), scale.of(Role::Booking), scale.of(Role::Queue)), (3, 2, 1));
        assert_eq!(scale.processes(), 12);
    }

    #[test]
    fn rejects_other_roles_and_numbers() {
        for (text, error) in [
            ("gateway", "expected ROLE=N"),
            ("gateway=0", "from 1 to 16"),
            ("gateway=17", "from 1 to 16"),
            ("gateway=two", "from 1 to 16"),
            ("balancer=2", "a stack has one balancer; the roles to scale are gateway, cache,"),
            ("collector=1", "a stack has one collector"),
            ("kitchen=2", "unknown role 'kitchen': expected one of gateway, cache,"),
        ] {
            let found = text.parse::<RoleCount>().unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }

    #[test]
    fn several_queues_or_caches_need_a_storage_that_they_share() {
        let none = Storages::default();
        let shared = Storages {
            queue: Some("nats://127.0.0.1:4222".into()),
            cache: Some("redis://127.0.0.1:6379".into()),
        };
        for (counts, variable) in
            [("queue=2", "QUEUE_BACKEND=nats://"), ("cache=2", "CACHE_BACKEND=redis://")]
        {
            let error = scale(&[counts]).check(&none).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(variable), "{error}");
            scale(&[counts]).check(&shared).unwrap();
        }
        let in_memory = Storages { queue: Some("memory".into()), cache: None };
        scale(&["queue=2"]).check(&in_memory).unwrap_err();
        scale(&["gateway=4", "booking=2", "search=2", "notification=2"]).check(&none).unwrap();
    }
}
