//! What a server that is ready offers to try.

use super::Output;
use crate::serve::{DemoView, ReadyView};
use crate::text;

impl Output {
    /// Nothing for a plain server, whose log says it; the commands to try for a demo.
    pub fn ready(&self, view: &ReadyView) {
        let Some(demo) = &view.demo else { return };
        if self.is_json() {
            return;
        }
        for note in &demo.notes {
            self.note(note);
        }
        self.line_out(&self.sentence(&text::cli::demo_try()));
        let url = view.server.url.as_deref().unwrap_or_default();
        for command in commands(demo, &program(), url) {
            self.line_out(&format!("  {command}"));
        }
        self.line_out(&self.sentence(&text::cli::demo_stop()));
    }
}

/// The program as it was called, so that the commands work where it is not on the path.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    match called.contains(['/', '\\']) && !called.contains(char::is_whitespace) {
        true => called,
        false => "pmctl".to_owned(),
    }
}

fn commands(demo: &DemoView, program: &str, url: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for (_, port) in &demo.services {
        commands.push(format!("curl http://127.0.0.1:{port}/hello"));
    }
    if let Some((_, port)) = demo.services.first() {
        commands.push(format!("curl -d 'a body' http://127.0.0.1:{port}/echo"));
    }
    let (service, target) = &demo.switch;
    for words in [
        "status".to_owned(),
        "service list".to_owned(),
        "ports status".to_owned(),
        format!("service switch {service} {target}"),
        "events".to_owned(),
    ] {
        commands.push(format!("{program} {words} --server {url}"));
    }
    commands.push(format!("curl {url}/api/ports/status"));
    commands
}
