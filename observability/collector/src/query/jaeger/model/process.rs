//! The distinct resources of a trace, which its spans name by `p1`, `p2`, … in the order in which they appear.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::value::{Tag, tags};
use crate::trace::Resource;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Process {
    service_name: String,
    tags: Vec<Tag>,
}

/// Resources that look the same are one process. Their text tells whether they do, for to compare each with each would
/// take hours where a sender makes one for every span.
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

fn process(resource: &Resource) -> Process {
    Process {
        service_name: resource.service().to_owned(),
        tags: tags(&resource.attributes).filter(|tag| tag.key != "service.name").collect(),
    }
}
