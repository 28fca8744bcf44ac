//! The registry and the clients that most users have: those of Spring Cloud Netflix, in Java.
//!
//! They are not part of a plain run, because they need a JDK (17 or newer) and Maven, which builds
//! what lies in `tests/spring`:
//!
//! ```sh
//! mvn -f tests/spring package
//! PMCTL_TEST_SPRING=$PWD/target/ci/spring cargo test --test it spring -- --ignored
//! ```

/// A client against the embedded registry, and through it to a proxy.
mod consumer;
/// Leases in a server.
mod registry;

use std::path::Path;
use std::process::Command;

use crate::support::{Guest, Pmctl, of_the_recipe};

/// Starts the program that was built in the folder `name`, with a temporary folder of its own and
/// nothing of the caller's environment but `PATH`.
#[track_caller]
fn start(pmctl: &Pmctl, name: &str, properties: &[String]) -> Guest {
    let built = of_the_recipe("PMCTL_TEST_SPRING");
    let mut command = Command::new("java");
    command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
    // It lives for seconds and does little: what would be compiled well is never run often.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx256m"]);
    command.arg(format!("-Djava.io.tmpdir={}", pmctl.dir().join("tmp").display()));
    command.arg("-jar").arg(Path::new(&built).join(name).join(format!("{name}.jar")));
    command.arg("--spring.main.banner-mode=off");
    command.args(properties.iter().map(|property| format!("--{property}")));
    command.current_dir(pmctl.work());
    Guest::start(command, pmctl.dir().join(format!("{name}.log")))
}

/// Starts a drain that lasts until something else ends it.
#[track_caller]
fn drain(pmctl: &Pmctl, service: &str) -> Guest {
    let command = pmctl.command(&["service", "drain", service, "--max", "10m"]);
    Guest::start(command, pmctl.dir().join("drain.log"))
}
