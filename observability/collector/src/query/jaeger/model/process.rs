//! The distinct resources of a trace. Spans refer to them as `p1`, `p2`, … in order of appearance.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::value::{Tag, tags};
use crate::trace::Resource;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    pub(super) service_name: String,
    pub(super) tags: Vec<Tag>,
}

/// Equal resources share a process. They are compared by their text in a map, because pairwise comparison would be quadratic where a
/// sender creates a resource for every span.
#[derive(Default)]
pub(super) struct Processes {
    by_address: HashMap<*const Resource, usize>,
    by_text: HashMap<String, usize>,
    list: Vec<Process>,
}

impl Processes {
    pub(super) fn id(&mut self, resource: &Arc<Resource>) -> String {
        let Self { by_address, by_text, list } = self;
        let number = by_address.entry(Arc::as_ptr(resource)).or_insert_with(|| {
            let process = process(resource);
            *by_text.entry(format!("{process:?}")).or_insert_with(|| {
                list.push(process);
                list.len()
            })
        });
        format!("p{number}")
    }

    pub(super) fn into_table(self) -> BTreeMap<String, Process> {
        self.list
            .into_iter()
            .enumerate()
            .map(|(index, process)| (format!("p{}", index + 1), process))
            .collect()
    }
}

pub(super) fn process(resource: &Resource) -> Process {
    Process {
        service_name: resource.service().to_owned(),
        tags: tags(&resource.attributes).filter(|tag| tag.key != "service.name").collect(),
    }
}
