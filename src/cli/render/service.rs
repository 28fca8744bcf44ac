//! Services: the list, and one of them in full.

use super::table::{Grid, Paint, painted};
use super::{Output, Style, escape, units};
use crate::model::{
    Actual, Counters, Desired, HealthState, HealthView, ServiceView, ServicesReport, TargetView,
    Timestamp,
};
use crate::text;

impl Output {
    /// `service list`: one row each.
    pub fn services(&self, report: &ServicesReport) {
        if self.is_json() {
            return self.document(report);
        }
        match report.services.is_empty() {
            true => self.line_out(&self.sentence(&text::cli::services_none())),
            false => self.write_out(&list(&report.services, self.style(), self.now())),
        }
    }

    /// `service show`: everything about each.
    pub fn service_details(&self, report: &ServicesReport) {
        if self.is_json() {
            return self.document(report);
        }
        for (at, service) in report.services.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            let details = details(service, self.style(), self.now());
            self.write_out(&format!("{separator}{details}"));
        }
    }
}

/// The rows of `services`, which are not empty.
pub(super) fn list(services: &[ServiceView], style: Style, now: Timestamp) -> String {
    let lang = style.lang;
    // Columns that nobody could fill are left out: the counts without a server, reasons if all is
    // well.
    let has_counters = services.iter().any(|service| service.counters.is_some());
    let has_reason = services.iter().any(|service| service.reason.is_some());
    let mut headings = vec![
        text::cli::column_name(),
        text::cli::column_listen(),
        text::cli::column_state(),
        text::cli::column_since(),
        text::cli::column_target(),
    ];
    if has_counters {
        headings.extend([text::cli::column_connections(), text::cli::column_requests()]);
    }
    if has_reason {
        headings.push(text::cli::column_reason());
    }
    let headings: Vec<String> = headings.iter().map(|heading| heading.render(lang)).collect();
    let mut grid = Grid::new(style, &headings);
    for service in services {
        let target = &service.active_target;
        let url = service.targets.get(target).map_or("", |target| target.url.as_str());
        let mut row = vec![
            escape::line(service.name.as_str()).into_owned(),
            listen(service),
            state(service, style),
            units::age(service.since, now),
            escape::line(&format!("{target} {url}")).into_owned(),
        ];
        if has_counters {
            let shown = |of: fn(&Counters) -> u64| {
                service.counters.as_ref().map_or_else(|| "-".to_owned(), |c| units::count(of(c)))
            };
            row.extend([shown(|c| c.connections), shown(Counters::requests)]);
        }
        if has_reason {
            let reason = service.reason.as_ref().map(|reason| reason.render(lang));
            row.push(escape::line(&reason.unwrap_or_default()).into_owned());
        }
        grid.row(row);
    }
    let numbers: &[usize] = if has_counters { &[5, 6] } else { &[] };
    grid.right(numbers).render(&[1, 3])
}

/// `*:8080`, or the address and the port.
fn listen(service: &ServiceView) -> String {
    match service.bind {
        None => format!("*:{}", service.port),
        Some(ip) => std::net::SocketAddr::new(ip, service.port.get()).to_string(),
    }
}

/// The actual state, and the desired one where it is another.
fn state(service: &ServiceView, style: Style) -> String {
    let paint = match (service.actual, service.desired) {
        (Actual::Running, Desired::Running) => Paint::Good,
        (Actual::Failed, _) => Paint::Bad,
        (Actual::Stopped, Desired::Stopped) => Paint::Faint,
        _ => Paint::Pending,
    };
    let actual = painted(paint, &units::word(service.actual.as_str(), style.lang));
    let differs = match (service.actual, service.desired) {
        (Actual::Stopped, Desired::Running) => true,
        (Actual::Running, Desired::Stopped) => true,
        // Starting and failed want to run, draining says itself where it goes.
        _ => false,
    };
    if !differs {
        return actual;
    }
    let desired = units::word(service.desired.as_str(), style.lang);
    text::cli::state_differs(actual, desired).render(style.lang)
}

fn details(service: &ServiceView, style: Style, now: Timestamp) -> String {
    let lang = style.lang;
    let name = painted(Paint::Strong, service.name.as_str());
    let mut grid = Grid::new(style, &[]);
    let mut put = |label: text::Message, value: String| {
        grid.row(vec![format!("  {}", label.render(lang)), value]);
    };
    let since = text::cli::since(units::age(service.since, now)).render(lang);
    put(text::cli::field_state(), format!("{} {since}", state(service, style)));
    if let Some(reason) = &service.reason {
        put(text::cli::field_reason(), escape::line(&reason.render(lang)).into_owned());
    }
    put(text::cli::field_listen(), listen(service));
    for (name, view) in &service.targets {
        let mark = if *name == service.active_target { "* " } else { "  " };
        let shown = format!("{mark}{name} {}{}", view.url, target_notes(view, style));
        put(text::cli::field_target(), escape::line(&shown).into_owned());
    }
    for instance in service.instances.iter().flatten() {
        let (url, in_flight) = (&instance.url, units::count(instance.in_flight));
        let shown = match instance.aside_ms {
            0 => text::balance::instance_shown(url, in_flight),
            ms => text::balance::instance_aside(
                url,
                in_flight,
                units::took(std::time::Duration::from_millis(ms)),
            ),
        };
        put(text::balance::field_instance(), escape::line(&shown.render(lang)).into_owned());
    }
    if !service.tags.is_empty() {
        put(text::cli::field_tags(), escape::line(&service.tags.join(", ")).into_owned());
    }
    put(text::cli::field_register(), units::yes_or_no(service.register, lang));
    if let Some(seen) = &service.health {
        put(text::heartbeat::field_health(), health(seen, style, now));
        if let Some(reason) = &seen.reason {
            put(text::cli::field_reason(), escape::line(&reason.render(lang)).into_owned());
        }
    }
    if let Some(counters) = &service.counters {
        put(text::cli::field_connections(), connections(counters, style));
        put(text::cli::field_requests(), requests(counters, style));
        let (into, out) = (units::bytes(counters.bytes_in), units::bytes(counters.bytes_out));
        put(text::cli::field_bytes(), text::cli::bytes_in_out(into, out).render(lang));
    }
    put(text::cli::field_added(), units::moment(service.created_at));
    let changed = units::moment(service.updated_at);
    put(text::cli::field_changed(), text::cli::changed_at(changed, service.revision).render(lang));
    format!("{name}\n{}", grid.render(&[0]))
}

fn health(seen: &HealthView, style: Style, now: Timestamp) -> String {
    let paint = match seen.state {
        HealthState::Healthy => Paint::Good,
        HealthState::Unhealthy => Paint::Bad,
        HealthState::Unknown => Paint::Faint,
    };
    let mut state = painted(paint, &units::word(seen.state.as_str(), style.lang));
    if let Some(since) = seen.since {
        let since = text::cli::since(units::age(since, now)).render(style.lang);
        state = format!("{state} {since}");
    }
    let check = &seen.check;
    let span = |ms| units::took(std::time::Duration::from_millis(ms));
    let shown = text::heartbeat::health_shown(
        state,
        escape::line(&check.path),
        span(check.interval_ms),
        span(check.timeout_ms),
        check.unhealthy_after,
        check.healthy_after,
    );
    shown.render(style.lang)
}

fn target_notes(target: &TargetView, style: Style) -> String {
    let mut notes = Vec::new();
    if target.has_credentials {
        notes.push(text::cli::target_credentials());
    }
    if let Some(file) = &target.ca_file {
        notes.push(text::cli::target_ca(file.display()));
    }
    if target.insecure {
        notes.push(text::cli::target_insecure());
    }
    let notes: Vec<String> = notes.iter().map(|note| note.render(style.lang)).collect();
    match notes.is_empty() {
        true => String::new(),
        false => format!(" ({})", notes.join(", ")),
    }
}

fn connections(counters: &Counters, style: Style) -> String {
    let Counters { connections, in_flight, tunnels, accepted, .. } = *counters;
    let [open, busy, tunnels, accepted] =
        [connections, in_flight, tunnels, accepted].map(units::count);
    text::cli::connections_shown(open, busy, tunnels, accepted).render(style.lang)
}

fn requests(counters: &Counters, style: Style) -> String {
    let classes = counters.responses.iter().enumerate().filter(|(_, count)| **count > 0);
    let mut parts: Vec<String> =
        classes.map(|(at, count)| format!("{}xx {}", at + 1, units::count(*count))).collect();
    if counters.upstream_failures > 0 {
        let failures = units::count(counters.upstream_failures);
        parts.push(text::cli::upstream_failures(failures).render(style.lang));
    }
    let total = units::count(counters.requests());
    match parts.is_empty() {
        true => total,
        false => format!("{total} ({})", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{capture, json_style, service, zh};
    use super::*;
    use crate::model::{Source, Success};

    fn report() -> ServicesReport {
        let failed = text::model::port_out_of_range("x");
        let mut stopped = service("admin", 8080, Actual::Stopped, None);
        stopped.bind = Some("::1".parse().unwrap());
        let services = vec![
            service("订单服务", 27721, Actual::Running, None),
            stopped,
            service("bad", 90, Actual::Failed, Some(failed)),
        ];
        ServicesReport { success: Success, source: Source::Server, services }
    }

    #[test]
    fn the_list_shows_state_and_what_is_wanted_where_they_differ() {
        let (output, streams) = capture(Style::default());
        output.services(&report());
        let expected = "\
NAME      LISTEN      STATE                     SINCE  TARGET                      CONNECTIONS  REQUESTS  REASON
订单服务  *:27721     running                   2m 5s  blue http://127.0.0.1:9001           12     1,236
admin     [::1]:8080  stopped (wanted running)  2m 5s  blue http://127.0.0.1:9001            -         -
bad       *:90        failed                    2m 5s  blue http://127.0.0.1:9001            -         -  `x` is not a port; a port is a number from 1 to 65535
";
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn the_list_reads_in_chinese_with_its_columns_in_line() {
        let mut report = report();
        report.services.truncate(2);
        let (output, streams) = capture(zh());
        output.services(&report);
        let expected = "\
名称      监听        状态                  时长   目标                        连接数  请求数
订单服务  *:27721     运行中                2m 5s  blue http://127.0.0.1:9001      12   1,236
admin     [::1]:8080  已停止（应为运行中）  2m 5s  blue http://127.0.0.1:9001       -       -
";
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn a_service_in_full_shows_no_secret() {
        let (output, streams) = capture(Style::default());
        let mut report = report();
        report.services.truncate(1);
        output.service_details(&report);
        let expected = "\
订单服务
  state        running for 2m 5s
  listen       *:27721
  target       * blue http://127.0.0.1:9001
  target         green https://10.0.0.7/v2 (credentials kept)
  tags         web
  registry     yes
  connections  12 open, 3 requests in flight, 1 tunnels; 40 accepted
  requests     1,236 (2xx 1,200, 3xx 4, 4xx 30, 5xx 2, target did not answer 2)
  bytes        2.0 KiB in, 5.0 MiB out
  added        2025-12-30 23:00:00Z
  changed      2025-12-31 23:00:00Z, revision 3
";
        assert_eq!(streams.out(), expected);
    }

    #[test]
    fn a_watched_target_shows_how_it_is_and_what_was_met() {
        let (output, streams) = capture(Style::default());
        let mut report = report();
        report.services.truncate(1);
        let patch = crate::model::HealthPatch {
            path: Some("/up".into()),
            interval_ms: Some(500),
            ..Default::default()
        };
        report.services[0].health = Some(HealthView {
            state: HealthState::Unhealthy,
            since: Some(super::super::testing::ago(9)),
            reason: Some(text::heartbeat::health_status("/up", 500)),
            check: patch.over(None).unwrap(),
        });
        output.service_details(&report);
        let expected = "\
  health       unhealthy for 9s; /up every 500ms, answer within 500ms, unhealthy after 3, healthy after 2
  reason       it answered /up with 500
";
        assert!(streams.out().contains(expected), "{}", streams.out());
    }

    #[test]
    fn no_service_at_all_says_how_to_add_one_and_is_an_empty_list_in_json() {
        let none = ServicesReport { services: vec![], ..report() };
        let (output, streams) = capture(Style::default());
        output.services(&none);
        assert!(streams.out().contains("pmctl service add"), "{}", streams.out());
        let (output, streams) = capture(json_style());
        output.services(&none);
        let document: serde_json::Value = serde_json::from_str(&streams.out()).unwrap();
        let expected = serde_json::json!({"success": true, "source": "server", "services": []});
        assert_eq!(document, expected);
    }
}
