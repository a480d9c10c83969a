//! What a browser is shown: where the API is and what there is not.
//!
//! rabbitmq: has a page for management here, and the script rabbitmqadmin.

use axum::Router;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(async || page(ROOT)))
        .route("/api", get(async || moved("/api/index.html")))
        .route("/api/index.html", get(async || page(API)))
        .route("/cli", get(async || moved("/cli/index.html")))
        .route("/cli/index.html", get(async || page(CLI)))
}

const ROOT: &str = "<p>This is the HTTP API of a leveret, an AMQP broker. It is that of RabbitMQ: see \
                    <a href=\"api/index.html\">the API</a>. There is no page for management yet.</p>";

const API: &str = "<p>The paths, methods and answers below <code>/api</code> are those of RabbitMQ 3.10.8, which its \
                   documentation describes. What differs is in leveret's COMPATIBILITY.md.</p>\
                   <p>A login is needed, by HTTP's basic authentication: try \
                   <a href=\"overview\">/api/overview</a>.</p>";

const CLI: &str = "<p>RabbitMQ's command line tools for its HTTP API, rabbitmqadmin and rabbitmqadmin-ng, work with \
                   this broker. They come with RabbitMQ and are not here.</p>";

fn moved(to: &'static str) -> Response {
    (StatusCode::MOVED_PERMANENTLY, [(LOCATION, to)]).into_response()
}

fn page(body: &'static str) -> Response {
    let html = format!(
        "<!DOCTYPE html><html><head><title>leveret</title></head><body>{body}</body></html>\n"
    );
    let mut response = Html(html).into_response();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}
