//! What a server that is ready offers to try.

use std::path::Path;

use super::{Output, escape};
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
        let url = view.server.url.as_deref().unwrap_or_default();
        let mut lines = vec![self.sentence(&text::cli::demo_try())];
        let commands = commands(demo, &program(), url);
        lines.extend(commands.iter().map(|command| format!("  {}", escape::line(command))));
        lines.push(self.sentence(&text::cli::demo_stop()));
        // In one piece: the log writes to the same terminal.
        self.line_out(&lines.join("\n"));
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
    let token = demo.token_file.as_deref().map(Path::display).map(|path| path.to_string());
    let token = token.map_or_else(String::new, |path| match path.contains(char::is_whitespace) {
        true => format!(" --token-file \"{path}\""),
        false => format!(" --token-file {path}"),
    });
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
        commands.push(format!("{program} {words} --server {url}{token}"));
    }
    if let Some(registry) = &demo.registry {
        commands.push(format!("{program} heartbeat status --server {url}{token}"));
        commands.push(format!("{program} eureka apps --eureka-url {registry}"));
    }
    commands.push(format!("curl {url}/api/ports/status"));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RegistryUrl;

    #[test]
    fn each_command_of_the_demo_names_its_server_or_its_port() {
        let port = |number| crate::model::Port::new(number).unwrap();
        let demo = DemoView {
            services: vec![("dspapi".parse().unwrap(), port(27722))],
            switch: ("dspapi".parse().unwrap(), "green".into()),
            registry: RegistryUrl::parse("http://127.0.0.1:8761").ok(),
            token_file: None,
            notes: vec![],
        };
        let with_token = DemoView { token_file: Some("/a b/t".into()), ..demo.clone() };
        let told = super::commands(&with_token, "pmctl", "http://[::1]:1");
        let status = "pmctl status --server http://[::1]:1 --token-file \"/a b/t\"";
        assert!(told.iter().any(|command| command == status), "{told:?}");
        let commands = commands(&demo, "./pmctl", "http://127.0.0.1:3001");
        assert_eq!(commands[0], "curl http://127.0.0.1:27722/hello");
        let switch = "./pmctl service switch dspapi green --server http://127.0.0.1:3001";
        assert!(commands.iter().any(|command| command == switch), "{commands:?}");
        let apps = "./pmctl eureka apps --eureka-url http://127.0.0.1:8761/eureka";
        assert!(commands.iter().any(|command| command == apps), "{commands:?}");
        let places = [":27722/", "http://127.0.0.1:3001", "http://127.0.0.1:8761"];
        assert!(commands.iter().all(|c| places.iter().any(|place| c.contains(place))));
    }
}
