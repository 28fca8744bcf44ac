//! Figures in the Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

use crate::model::{Actual, Phase};
use crate::ops::{Metrics, ServiceMetrics};

/// The media type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rough length of a service's lines, so that the text of many services grows once.
const BYTES_PER_SERVICE: usize = 4_096;

/// Every figure of a server in `phase` that runs `version`.
pub(super) fn render(metrics: &Metrics, phase: Phase, version: &str) -> String {
    let room = 2_048 + metrics.services.len() * BYTES_PER_SERVICE;
    let mut text = Text(String::with_capacity(room));
    text.family("pmctl_build_info", "gauge", "The version of pmctl that runs; always 1.");
    text.sample("pmctl_build_info", &[("version", version)], 1);
    text.family("pmctl_ready", "gauge", "Whether the server is ready.");
    text.sample("pmctl_ready", &[], u8::from(phase == Phase::Ready));
    process(&mut text, metrics);
    services(&mut text, &metrics.services);
    text.0
}

fn process(text: &mut Text, metrics: &Metrics) {
    let process = &metrics.process;
    let start = metrics.started_at.as_millis();
    text.family("process_start_time_seconds", "gauge", "Start of the process, Unix time.");
    // Both parts are exact in an f64 until far beyond any clock.
    let start = format!("{}.{:03}", start / 1_000, start % 1_000);
    text.sample("process_start_time_seconds", &[], start);
    text.known(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory.",
        process.resident_bytes,
    );
    text.known("process_open_fds", "gauge", "Open file descriptors.", process.open_descriptors);
    text.known(
        "process_cpu_seconds_total",
        "counter",
        "CPU time spent, user and system.",
        process.cpu_seconds,
    );
    text.known("process_threads", "gauge", "Threads of the process.", process.threads);
}

fn services(text: &mut Text, services: &[ServiceMetrics]) {
    text.family("pmctl_service_info", "gauge", "The port of a service; always 1.");
    for service in services {
        let port = service.port.to_string();
        text.sample("pmctl_service_info", &[name(service), ("port", &port)], 1);
    }
    text.family("pmctl_service_state", "gauge", "1 for the state a service is in, 0 for others.");
    for service in services {
        for state in Actual::ALL {
            let labels = [name(service), ("state", state.as_str())];
            text.sample("pmctl_service_state", &labels, u8::from(service.actual == *state));
        }
    }
    text.family("pmctl_requests_total", "counter", "Requests answered, by class of status.");
    for service in services {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        for (class, count) in classes.into_iter().zip(service.counters.responses) {
            text.sample("pmctl_requests_total", &[name(service), ("class", class)], count);
        }
    }
    latency(text, services);
    type Figure = (&'static str, &'static str, &'static str, fn(&ServiceMetrics) -> u64);
    let figures: [Figure; 7] = [
        ("pmctl_connections", "gauge", "Open client connections.", |s| s.counters.connections),
        ("pmctl_connections_accepted_total", "counter", "Client connections accepted.", |s| {
            s.counters.accepted
        }),
        ("pmctl_requests_in_flight", "gauge", "Requests being answered.", |s| s.counters.in_flight),
        ("pmctl_tunnels", "gauge", "Open upgraded connections.", |s| s.counters.tunnels),
        ("pmctl_received_bytes_total", "counter", "Body bytes from clients to targets.", |s| {
            s.counters.bytes_in
        }),
        ("pmctl_sent_bytes_total", "counter", "Body bytes from targets to clients.", |s| {
            s.counters.bytes_out
        }),
        (
            "pmctl_upstream_failures_total",
            "counter",
            "Answers pmctl made itself because the target did not answer.",
            |s| s.counters.upstream_failures,
        ),
    ];
    for (family, kind, help, figure) in figures {
        text.family(family, kind, help);
        for service in services {
            text.sample(family, &[name(service)], figure(service));
        }
    }
}

fn latency(text: &mut Text, services: &[ServiceMetrics]) {
    let family = "pmctl_request_duration_seconds";
    text.family(family, "histogram", "Time from the head of a request to the end of its answer.");
    for service in services {
        let bucket = format!("{family}_bucket");
        let mut total = 0;
        for (bound, count) in service.latency.iter().filter(|(bound, _)| bound.is_finite()) {
            let bound = bound.to_string();
            text.sample(&bucket, &[name(service), ("le", &bound)], count);
            total = *count;
        }
        // The last bucket holds every request; `_count` must say the same.
        let last = service.latency.last().map_or(total, |(_, count)| *count);
        let total = total.max(last);
        text.sample(&bucket, &[name(service), ("le", "+Inf")], total);
        text.sample(&format!("{family}_sum"), &[name(service)], service.latency_sum_seconds);
        text.sample(&format!("{family}_count"), &[name(service)], total);
    }
}

fn name(service: &ServiceMetrics) -> (&'static str, &str) {
    ("service", service.name.as_str())
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            self.0.push_str(label);
            self.0.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    /// A figure of its own family, left out where it is not known: 0 would be a lie.
    fn known(&mut self, name: &str, kind: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.0.write_fmt(line);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Counters, Port, Timestamp};
    use crate::ops::ProcessMetrics;

    fn service(name: &str) -> ServiceMetrics {
        ServiceMetrics {
            name: name.parse().unwrap_or_else(|m| panic!("{m}")),
            port: Port::new(8080).unwrap_or_else(|| panic!("8080 is a port")),
            actual: Actual::Running,
            counters: Counters {
                connections: 3,
                responses: [0, 9, 0, 1, 2],
                ..Counters::default()
            },
            latency: vec![(0.001, 4), (0.25, 10), (f64::INFINITY, 12)],
            latency_sum_seconds: 1.5,
        }
    }

    fn metrics(services: Vec<ServiceMetrics>) -> Metrics {
        let process =
            ProcessMetrics { resident_bytes: Some(1_048_576), ..ProcessMetrics::default() };
        Metrics { process, services, started_at: Timestamp::from_millis(1_700_000_000_007) }
    }

    #[test]
    fn figures_read_as_the_format_wants_them() {
        let text = render(&metrics(vec![service("dspapi")]), Phase::Ready, "0.1.0");
        for line in [
            "pmctl_build_info{version=\"0.1.0\"} 1",
            "pmctl_ready 1",
            "process_start_time_seconds 1700000000.007",
            "process_resident_memory_bytes 1048576",
            "pmctl_service_state{service=\"dspapi\",state=\"running\"} 1",
            "pmctl_service_state{service=\"dspapi\",state=\"failed\"} 0",
            "pmctl_requests_total{service=\"dspapi\",class=\"2xx\"} 9",
            "pmctl_requests_total{service=\"dspapi\",class=\"5xx\"} 2",
            "pmctl_request_duration_seconds_bucket{service=\"dspapi\",le=\"0.25\"} 10",
            "pmctl_request_duration_seconds_bucket{service=\"dspapi\",le=\"+Inf\"} 12",
            "pmctl_request_duration_seconds_sum{service=\"dspapi\"} 1.5",
            "pmctl_request_duration_seconds_count{service=\"dspapi\"} 12",
            "pmctl_connections{service=\"dspapi\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "lacks {line}:\n{text}");
        }
        assert!(!text.contains("process_open_fds"), "an unknown figure is left out");
        assert!(text.ends_with('\n'));
    }

    #[test]
    fn every_sample_belongs_to_the_family_announced_before_it_and_no_family_comes_twice() {
        let text = render(&metrics(vec![service("a"), service("b")]), Phase::Draining, "x");
        let mut families = BTreeMap::new();
        let mut family = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap_or_default();
                assert_eq!(families.insert(family, 0), None, "{family} twice");
            } else if !line.starts_with("# TYPE ") {
                assert!(line.starts_with(family), "{line} under {family}");
            }
        }
    }

    #[test]
    fn a_label_is_escaped() {
        let text = render(&metrics(vec![service("a\\b\"c 订")]), Phase::Ready, "x");
        assert!(text.contains("pmctl_connections{service=\"a\\\\b\\\"c 订\"} 3"), "{text}");
    }

    #[test]
    fn a_histogram_without_its_last_bucket_is_closed() {
        let mut service = service("a");
        service.latency.pop();
        let text = render(&metrics(vec![service]), Phase::Ready, "x");
        assert!(text.contains("le=\"+Inf\"} 10\n"), "{text}");
        assert!(text.contains("_count{service=\"a\"} 10\n"), "{text}");
    }
}
