//! A wall clock that a test can set, for one program alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::Pmctl;

/// Stands between the program and the C library: adds what a file says to the wall clock, and leaves
/// every other clock alone.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (result == 0 && id == CLOCK_REALTIME) {
        const char *path = getenv("TEST_CLOCK");
        FILE *file = path ? fopen(path, "r") : NULL;
        long seconds;
        if (file) {
            if (fscanf(file, "%ld", &seconds) == 1) now->tv_sec += seconds;
            fclose(file);
        }
    }
    return result;
}
"#;

/// The clock of the programs that were started with it.
pub struct SetClock {
    dir: TempDir,
}

impl SetClock {
    /// A clock that goes right. Needs the C compiler that the build needs too.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pmctl-clock-").tempdir().expect("a folder");
        let clock = Self { dir };
        let source = clock.dir.path().join("clock.c");
        fs::write(&source, SOURCE).expect("the source");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(clock.library()).arg(&source);
        let ran = compiler.arg("-ldl").output().expect("a C compiler");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        clock
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("clock.so")
    }

    fn setting(&self) -> PathBuf {
        self.dir.path().join("seconds")
    }

    /// Lets everything that is started by `pmctl` go by it.
    pub fn preloaded_by(&self, pmctl: Pmctl) -> Pmctl {
        let text = |path: PathBuf| path.display().to_string();
        pmctl.with("LD_PRELOAD", &text(self.library())).with("TEST_CLOCK", &text(self.setting()))
    }

    /// Sets it `seconds` beside the right time.
    pub fn shift(&self, seconds: i64) {
        let new = self.dir.path().join("new");
        fs::write(&new, seconds.to_string()).expect("the setting");
        // In one step: it is read at any time.
        fs::rename(new, self.setting()).expect("the setting");
    }
}
