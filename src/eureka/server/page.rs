//! What the registry lists, for people with a browser.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_SECURITY_POLICY};
use http::{HeaderMap, HeaderValue};

use super::Node;
use super::answer::fields;
use crate::eureka::registry::RegistryCounts;
use crate::model::RegistryReport;
use crate::text::{self, Message};

/// A page for whoever reads HTML, the same as JSON for everybody else.
pub(super) async fn index(State(node): State<Node>, headers: HeaderMap) -> Response {
    let (report, counts) = {
        let registry = node.lock();
        (registry.applications().report("/eureka"), registry.counts(node.now()))
    };
    let wants_html = headers
        .get_all(ACCEPT)
        .iter()
        .any(|value| value.as_bytes().windows(9).any(|word| word == b"text/html"));
    if !wants_html {
        return Json(report).into_response();
    }
    let page = page(&report, counts, |message| escaped(&message.render(node.lang)));
    let mut fields = fields("text/html; charset=utf-8");
    // Nothing that an instance says of itself may run or load anything.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    fields.insert(CONTENT_SECURITY_POLICY, policy);
    (fields, page).into_response()
}

fn page(
    report: &RegistryReport,
    counts: RegistryCounts,
    say: impl Fn(Message) -> String,
) -> String {
    let title = say(text::eureka::registry_title());
    let summary = say(text::eureka::registry_summary(counts.instances, counts.renewals));
    let mut page = format!(
        "<!doctype html><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:1rem system-ui;margin:2rem}}\
         td,th{{text-align:left;padding:.2rem 1rem .2rem 0}}</style><h1>{title}</h1>\
         <p>{summary}</p>"
    );
    if counts.instances > 0 && counts.is_preserving {
        let preserving = say(text::eureka::registry_preserving(counts.threshold));
        page.push_str(&format!("<p>{preserving}</p>"));
    }
    if report.applications.is_empty() {
        page.push_str(&format!("<p>{}</p>", say(text::eureka::registry_empty())));
        return page;
    }
    let headings = [
        text::eureka::registry_column_application(),
        text::eureka::registry_column_instance(),
        text::eureka::registry_column_status(),
        text::eureka::registry_column_address(),
    ];
    page.push_str("<table><tr>");
    page.extend(headings.map(|heading| format!("<th>{}", say(heading))));
    for application in &report.applications {
        for instance in &application.instances {
            page.push_str("<tr>");
            let port = instance.port.or(instance.secure_port);
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let cells = [
                &application.name,
                &instance.instance_id,
                &instance.status,
                &format!("{}{port}", instance.host),
            ];
            page.extend(cells.map(|cell| format!("<td>{}", escaped(cell))));
        }
    }
    page.push_str("</table>");
    page
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
