//! Version 2 of the query service: traces in Jaeger's own model.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::chunks::Model;
use super::parameters::{self, search_v2};
use super::reply::{self, Chunks, StreamReply};
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::protocol::api_v2::{
    ArchiveTraceRequest, ArchiveTraceResponse, FindTracesRequest, GetDependenciesResponse,
    GetOperationsResponse, GetServicesRequest, GetTraceRequest, query_service_server,
};
use crate::query::jaeger::protocol::api_v3::{
    self, GetDependenciesRequest, GetOperationsRequest, GetServicesResponse,
};

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
        reply::services(Arc::clone(&self.0)).await
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Result<Response<GetOperationsResponse>, Status> {
        let reply = reply::operations(Arc::clone(&self.0), request.into_inner()).await?;
        Ok(reply.map(|api_v3::GetOperationsResponse { operations }| {
            let mut operation_names: Vec<String> =
                operations.iter().map(|operation| operation.name.clone()).collect();
            operation_names.dedup();
            GetOperationsResponse { operation_names, operations }
        }))
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        reply::dependencies(Arc::clone(&self.0), request.into_inner()).await
    }
}
