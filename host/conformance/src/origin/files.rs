//! A plain HTTP server of files, with an index of all of them at `/index.txt`.

use super::message::decode;
use super::objects::Objects;
use super::{Handler, Request, Response};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Serves objects at their percent-encoded paths. `/index.txt` has a line with the key of each, in the order of their bytes.
pub struct Files(pub Arc<Objects>);

impl Handler for Files {
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send + '_>> {
        Box::pin(async move {
            let key = decode(request.path().trim_start_matches('/'));
            if key == "index.txt" {
                let lines = self.0.all().into_iter().map(|(key, _)| format!("{key}\n"));
                return Response::new(200, Vec::new(), lines.collect::<String>());
            }
            self.0.answer(&key, &request, Response::new(404, Vec::new(), "no such file\n"))
        })
    }
}
