//! Service registries: one that is ready, and what one lists.

use serde::Serialize;

use super::table::{Grid, Paint, painted};
use super::{Output, escape, units};
use crate::model::{RegistryInstance, RegistryReport, Success};
use crate::text;

#[derive(Serialize)]
struct Ready<'a> {
    success: Success,
    url: &'a str,
    pid: u32,
}

impl Output {
    /// The registry serves: a document with JSON, a sentence where no log on the terminal says it.
    pub fn registry_ready(&self, url: &str, pid: u32, is_silent: bool) {
        if self.is_json() {
            self.document(&Ready { success: Success, url, pid });
        } else if is_silent {
            self.done(&text::eureka::registry_ready(url, pid));
        }
    }

    /// `eureka apps`: a row for each instance.
    pub fn registry(&self, report: &RegistryReport) {
        if self.is_json() {
            return self.document(report);
        }
        if report.applications.is_empty() {
            return self.line_out(&self.sentence(&text::eureka::listing_empty(&report.registry)));
        }
        let style = self.style();
        let headings = [
            text::eureka::registry_column_application(),
            text::eureka::registry_column_instance(),
            text::eureka::registry_column_status(),
            text::eureka::registry_column_address(),
            text::eureka::registry_column_registered(),
        ];
        let mut grid = Grid::new(style, &headings.map(|heading| heading.render(style.lang)));
        for application in &report.applications {
            for instance in &application.instances {
                let registered = instance.registered.map(|then| units::age(then, self.now()));
                grid.row(vec![
                    escape::line(&application.name).into_owned(),
                    escape::line(&instance.instance_id).into_owned(),
                    status(instance),
                    escape::line(&address(instance)).into_owned(),
                    registered.unwrap_or_else(|| "-".to_owned()),
                ]);
            }
        }
        self.write_out(&grid.render(&[0, 2, 4]));
    }
}

fn status(instance: &RegistryInstance) -> String {
    let paint = match instance.status.as_str() {
        "UP" => Paint::Good,
        "DOWN" => Paint::Bad,
        _ => Paint::Pending,
    };
    painted(paint, &instance.status)
}

fn address(instance: &RegistryInstance) -> String {
    match instance.port.or(instance.secure_port) {
        Some(port) => format!("{}:{port}", instance.host),
        None => instance.host.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Style;
    use super::super::testing::{NOW, capture};
    use super::*;
    use crate::model::{RegistryApplication, Timestamp};

    fn report() -> RegistryReport {
        let instance = RegistryInstance {
            instance_id: "h:orders:8080".into(),
            status: "UP".into(),
            override_status: None,
            host: "10.0.0.5\u{1b}[2J".into(),
            address: "10.0.0.5".into(),
            port: Some(8080),
            secure_port: None,
            registered: Some(Timestamp::from_millis(NOW - 65_000)),
            lease_seconds: Some(90),
            metadata: Default::default(),
        };
        let application = RegistryApplication { name: "ORDERS".into(), instances: vec![instance] };
        RegistryReport {
            success: Success,
            registry: "http://r:8761/eureka".into(),
            applications: vec![application],
        }
    }

    #[test]
    fn each_instance_has_a_row_and_nothing_of_it_reaches_the_terminal_raw() {
        let (output, streams) = capture(Style::default());
        output.registry(&report());
        let text = streams.out();
        let row = text.lines().nth(1).unwrap_or_default();
        assert!(row.starts_with("ORDERS") && row.contains(" UP "), "{text}");
        assert!(row.contains(":8080") && row.ends_with("1m 5s"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn an_empty_registry_is_said_to_be_so() {
        let (output, streams) = capture(Style::default());
        output.registry(&RegistryReport { applications: vec![], ..report() });
        assert!(streams.out().contains("http://r:8761/eureka lists no application"));
    }
}
