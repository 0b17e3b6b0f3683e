//! Version 3 of the query service: traces as OTLP.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::chunks::Model;
use super::parameters::search_v3;
use super::reply::{self, Chunks, StreamReply};
use crate::ingest::Ingest;
use crate::query::jaeger::adjust::Adjuster;
use crate::query::jaeger::parameters::parse_trace_id;
use crate::query::jaeger::protocol::api_v2::GetDependenciesResponse;
use crate::query::jaeger::protocol::api_v3::{
    FindTraceSummariesRequest, FindTracesRequest, GetDependenciesRequest, GetOperationsRequest,
    GetOperationsResponse, GetServicesRequest, GetServicesResponse, GetTraceRequest, query_service_server,
};
use crate::query::jaeger::v3::malformed;

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
        reply::services(Arc::clone(&self.0)).await
    }

    async fn get_operations(
        &self,
        request: Request<GetOperationsRequest>,
    ) -> Result<Response<GetOperationsResponse>, Status> {
        reply::operations(Arc::clone(&self.0), request.into_inner()).await
    }

    async fn get_dependencies(
        &self,
        request: Request<GetDependenciesRequest>,
    ) -> Result<Response<GetDependenciesResponse>, Status> {
        reply::dependencies(Arc::clone(&self.0), request.into_inner()).await
    }

    async fn find_trace_summaries(&self, request: Request<FindTraceSummariesRequest>) -> StreamReply {
        let search = search_v3(request.into_inner().query)?;
        // The id is a text here, which is encoded like bytes.
        reply::summaries(Arc::clone(&self.0), self.1, search, |id| id.to_string().into_bytes()).await
    }
}
