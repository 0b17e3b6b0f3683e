//! Version 3 of the query service: traces as OTLP.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::chunks::{ListWriter, Model};
use super::parameters::{self, search_v3};
use super::reply::{self, Chunks, StreamReply};
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::parameters::parse_trace_id;
use crate::query::jaeger::protocol::api_v3::{
    DependenciesResponse, Dependency, FindTraceSummariesRequest, FindTracesRequest, GetDependenciesRequest,
    GetOperationsRequest, GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTraceRequest,
    Operation, ServiceSummary, TraceSummary, query_service_server,
};
use crate::query::jaeger::respond;
use crate::query::jaeger::v3::{self, malformed};
use crate::query::streaming::ChunkWriter;
use crate::trace::TraceId;

#[derive(Debug)]
pub(super) struct QueryService(pub(super) Arc<Ingest>, pub(super) Adjuster);

#[tonic::async_trait]
impl query_service_server::QueryService for QueryService {
    type GetTraceStream = Chunks;
    type FindTracesStream = Chunks;
    type FindTraceSummariesStream = Chunks;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> StreamReply {
        let GetTraceRequest { trace_id, raw_traces, .. } = request.into_inner();
        let id = parse_trace_id(&trace_id).map_err(|error| malformed("trace_id", &error.message))?;
        reply::trace(Arc::clone(&self.0), self.1, id, raw_traces, Model::Otlp).await
    }

    async fn find_traces(&self, request: Request<FindTracesRequest>) -> StreamReply {
        let search = search_v3(request.into_inner().query)?;
        reply::traces(Arc::clone(&self.0), self.1, search, Model::Otlp).await
    }

    async fn get_services(
        &self,
        _: Request<GetServicesRequest>,
    ) -> Result<Response<GetServicesResponse>, Status> {
        let ingest = Arc::clone(&self.0);
        reply::lookup(move || GetServicesResponse { services: ingest.services() }).await
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Result<Response<GetOperationsResponse>, Status> {
        let GetOperationsRequest { service, span_kind } = request.into_inner();
        let ingest = Arc::clone(&self.0);
        reply::lookup(move || {
            let kind = (!span_kind.is_empty()).then_some(&*span_kind);
            let operation = |(name, kind): (String, &str)| Operation { name, span_kind: kind.to_owned() };
            let operations = respond::operations(&ingest, &service, kind);
            GetOperationsResponse { operations: operations.into_iter().map(operation).collect() }
        })
        .await
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<DependenciesResponse>, Status> {
        let GetDependenciesRequest { start_time, end_time } = request.into_inner();
        let start_ns = parameters::dependencies(start_time, end_time)?;
        let ingest = Arc::clone(&self.0);
        reply::search(move || {
            let calls = ingest.store.dependencies(&start_ns).into_iter();
            let dependency = |((parent, child), call_count)| Dependency { parent, child, call_count };
            DependenciesResponse { dependencies: calls.map(dependency).collect() }
        })
        .await
    }

    async fn find_trace_summaries(&self, request: Request<FindTraceSummariesRequest>) -> StreamReply {
        let search = search_v3(request.into_inner().query)?;
        let (ingest, adjuster) = (Arc::clone(&self.0), self.1);
        let work = move |chunks: &mut ChunkWriter| {
            let mut summaries = ListWriter::new(chunks);
            for trace in ingest.store.search(&search.query) {
                let trace = adjuster.summarized(trace, search.raw);
                summaries.push(&summary(v3::TraceSummary::from(&trace)))?;
            }
            Ok(summaries.end_list()?)
        };
        reply::search_streamed(work).await
    }
}

fn summary(summary: v3::TraceSummary) -> TraceSummary {
    let service = |service: v3::ServiceSummary| ServiceSummary {
        name: service.name,
        span_count: count(service.span_count),
        error_span_count: count(service.error_span_count),
    };
    TraceSummary {
        trace_id: summary.trace_id.as_ref().map(TraceId::to_string).unwrap_or_default(),
        root_service_name: summary.root_service_name,
        root_operation_name: summary.root_operation_name,
        min_start_time_unix_nano: summary.min_start_time_unix_nano,
        max_end_time_unix_nano: summary.max_end_time_unix_nano,
        span_count: count(summary.span_count),
        error_span_count: count(summary.error_span_count),
        orphan_span_count: count(summary.orphan_span_count),
        services: summary.services.into_iter().map(service).collect(),
    }
}

/// Converts a number of spans.
pub(super) fn count(spans: u64) -> i32 {
    i32::try_from(spans).unwrap_or(i32::MAX)
}
