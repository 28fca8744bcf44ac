//! The gRPC services as routes.

use axum::Router;
use tonic::server::NamedService;
use tower::Service;

use super::generated::control_server::ControlServer;
use super::generated::{self as pb};
use super::health;
use super::service::Face;
use crate::ops::Ops;

/// Largest message a caller may send, in bytes.
const MAX_REQUEST: usize = 1024 * 1024;

/// The routes of `pmctl.v1.Control`, `grpc.health.v1.Health` and server reflection (v1 and v1alpha)
/// over `ops`. Without a fallback: the router it is merged into answers for unknown paths.
pub fn router(ops: Ops) -> Router {
    let control = ControlServer::new(Face::new(ops.clone())).max_decoding_message_size(MAX_REQUEST);
    let router = route(route(Router::new(), control), health::server(ops));
    // The descriptors are compiled in, and a test builds both services of them.
    let router = match reflection().build_v1() {
        Ok(service) => route(router, service),
        Err(_) => router,
    };
    match reflection().build_v1alpha() {
        Ok(service) => route(router, service),
        Err(_) => router,
    }
}

fn route<S>(router: Router, service: S) -> Router
where
    S: NamedService
        + Service<
            axum::extract::Request,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_descriptors_make_both_reflection_services() {
        assert!(reflection().build_v1().is_ok());
        assert!(reflection().build_v1alpha().is_ok());
    }
}
