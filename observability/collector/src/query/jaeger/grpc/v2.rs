//! Version 2 of the query service: traces in Jaeger's own model.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::chunks::Model;
use super::parameters::{self, search_v2};
use super::reply::{self, Chunks, StreamReply};
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::protocol::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, DependencyLink, FindTracesRequest, GetDependenciesRequest,
    GetDependenciesResponse, GetOperationsRequest, GetOperationsResponse, GetServicesRequest,
    GetServicesResponse, GetTraceRequest, Operation, query_service_server,
};
use crate::query::jaeger::respond;

#[derive(Debug)]
pub(super) struct QueryService(pub(super) Arc<Ingest>, pub(super) Adjuster);

#[tonic::async_trait]
impl query_service_server::QueryService for QueryService {
    type GetTraceStream = Chunks;
    type FindTracesStream = Chunks;

    async fn get_trace(&self, request: Request<GetTraceRequest>) -> StreamReply {
        let GetTraceRequest { trace_id, raw_traces, .. } = request.into_inner();
        let id = parameters::trace_id(&trace_id)?;
        reply::trace(Arc::clone(&self.0), self.1, id, raw_traces, Model::Jaeger).await
    }

    /// Fails like a Jaeger without an archive.
    async fn archive_trace(
        &self,
        request: Request<ArchiveTraceRequest>,
    ) -> Result<Response<ArchiveTraceResponse>, Status> {
        parameters::trace_id(&request.get_ref().trace_id)?;
        Err(Status::internal("failed to archive trace: archive span storage was not configured"))
    }

    async fn find_traces(&self, request: Request<FindTracesRequest>) -> StreamReply {
        let search = search_v2(request.into_inner().query)?;
        reply::traces(Arc::clone(&self.0), self.1, search, Model::Jaeger).await
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
            let operations = respond::operations(&ingest, &service, kind);
            let mut operation_names: Vec<String> = operations.iter().map(|(name, _)| name.clone()).collect();
            operation_names.dedup();
            let operation = |(name, kind): (String, &str)| Operation { name, span_kind: kind.to_owned() };
            let operations = operations.into_iter().map(operation).collect();
            GetOperationsResponse { operation_names, operations }
        })
        .await
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        let GetDependenciesRequest { start_time, end_time } = request.into_inner();
        let start_ns = parameters::dependencies(start_time, end_time)?;
        let ingest = Arc::clone(&self.0);
        reply::search(move || {
            let calls = ingest.store.dependencies(&start_ns).into_iter();
            let link = |((parent, child), call_count)| DependencyLink {
                parent,
                child,
                call_count,
                source: String::new(),
            };
            GetDependenciesResponse { dependencies: calls.map(link).collect() }
        })
        .await
    }
}
