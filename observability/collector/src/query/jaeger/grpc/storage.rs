//! The services by which a Jaeger reads from this collector as its storage. It writes by OTLP, and adjusts traces itself.

use std::collections::HashSet;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::chunks::{Model, write_traces};
use super::parameters::{self, search_storage};
use super::reply::{self, Chunks, StreamReply};
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::error::ApiError;
use crate::query::jaeger::model::protobuf::{timestamp, trace_id_bytes};
use crate::query::jaeger::protocol::api_v2::GetDependenciesResponse;
use crate::query::jaeger::protocol::api_v3::{
    GetDependenciesRequest, GetOperationsRequest, GetOperationsResponse, GetServicesResponse,
};
use crate::query::jaeger::protocol::storage::{
    FindTraceIDsRequest, FindTraceIDsResponse, FindTraceSummariesRequest, FindTracesRequest, FoundTraceId,
    GetCapabilitiesRequest, GetCapabilitiesResponse, GetServicesRequest, GetTracesRequest,
    SearchCapabilities, capabilities_server, dependency_reader_server, trace_reader_server,
};
use crate::query::jaeger::respond;
use crate::query::streaming::ChunkWriter;
use crate::trace::Trace;

#[derive(Debug)]
pub(super) struct TraceReader(pub(super) Arc<Ingest>, pub(super) Adjuster);

#[derive(Debug)]
pub(super) struct DependencyReader(pub(super) Arc<Ingest>);

#[derive(Debug)]
pub(super) struct Capabilities;

#[tonic::async_trait]
impl trace_reader_server::TraceReader for TraceReader {
    type GetTracesStream = Chunks;
    type FindTracesStream = Chunks;
    type FindTraceSummariesStream = Chunks;

    /// Streams the known traces; each once, even if its id is repeated.
    async fn get_traces(&self, request: Request<GetTracesRequest>) -> StreamReply {
        let ids = request.into_inner().query.into_iter().map(|trace| parameters::trace_id(&trace.trace_id));
        let mut ids = ids.collect::<Result<Vec<_>, ApiError>>()?;
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        let (ingest, adjuster) = (Arc::clone(&self.0), self.1);
        let work = move |chunks: &mut ChunkWriter| {
            let known = ids.into_iter().filter_map(|id| respond::stored_trace(&ingest, id));
            write_traces(known.map(|trace| adjuster.answer(trace, true)), Model::Otlp, chunks)
        };
        reply::search_streamed(work).await
    }

    async fn get_services(
        &self,
        _: Request<GetServicesRequest>,
    ) -> Result<Response<GetServicesResponse>, Status> {
        reply::services(Arc::clone(&self.0)).await
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Result<Response<GetOperationsResponse>, Status> {
        reply::operations(Arc::clone(&self.0), request.into_inner()).await
    }

    async fn find_traces(&self, request: Request<FindTracesRequest>) -> StreamReply {
        let search = search_storage(request.into_inner().query)?;
        reply::traces(Arc::clone(&self.0), self.1, search, Model::Otlp).await
    }

    async fn find_trace_i_ds(
        &self,
        request: Request<FindTraceIDsRequest>,
    ) -> Result<Response<FindTraceIDsResponse>, Status> {
        let search = search_storage(request.into_inner().query)?;
        let (ingest, adjuster) = (Arc::clone(&self.0), self.1);
        reply::search(move || {
            let traces = ingest.store.search(&search.query);
            let found = traces.filter_map(|trace| found(&adjuster.summarized(trace, true)));
            FindTraceIDsResponse { trace_ids: found.collect() }
        })
        .await
    }

    async fn find_trace_summaries(&self, request: Request<FindTraceSummariesRequest>) -> StreamReply {
        let search = search_storage(request.into_inner().query)?;
        reply::summaries(Arc::clone(&self.0), self.1, search, trace_id_bytes).await
    }
}

#[tonic::async_trait]
impl dependency_reader_server::DependencyReader for DependencyReader {
    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        reply::dependencies(Arc::clone(&self.0), request.into_inner()).await
    }
}

#[tonic::async_trait]
impl capabilities_server::Capabilities for Capabilities {
    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        let search =
            SearchCapabilities { without_service_name: true, same_span_conjunction: true, filter: None };
        Ok(Response::new(GetCapabilitiesResponse { search: Some(search) }))
    }
}

fn found(trace: &Trace) -> Option<FoundTraceId> {
    let start = trace.spans.iter().map(|span| span.start_ns).min()?;
    let end = trace.spans.iter().map(|span| span.end_ns).max()?;
    Some(FoundTraceId {
        trace_id: trace_id_bytes(trace.id()?),
        start: Some(timestamp(start)),
        end: Some(timestamp(end)),
    })
}
