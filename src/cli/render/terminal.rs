//! The terminal behind standard output: its width, and whether it takes colours.

/// Columns of the terminal on standard output; `None` where it is none or will not say.
#[cfg(unix)]
pub(super) fn width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

/// Whether the terminal understands colours; asked only where there is one.
#[cfg(unix)]
pub(super) fn takes_colour() -> bool {
    true
}

#[cfg(windows)]
pub(super) use windows::{takes_colour, width};

#[cfg(windows)]
mod windows {
    use windows_sys::Win32::System::Console::{
        CONSOLE_SCREEN_BUFFER_INFO, ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode,
        GetConsoleScreenBufferInfo, GetStdHandle, STD_ERROR_HANDLE, STD_HANDLE, STD_OUTPUT_HANDLE,
        SetConsoleMode,
    };

    pub(in super::super) fn width() -> Option<u16> {
        let mut info = CONSOLE_SCREEN_BUFFER_INFO::default();
        // SAFETY: `info` is a valid place for the answer; a handle that is no console is answered
        // with 0.
        let is_console = unsafe {
            GetConsoleScreenBufferInfo(GetStdHandle(STD_OUTPUT_HANDLE), &raw mut info) != 0
        };
        let columns = i32::from(info.srWindow.Right) - i32::from(info.srWindow.Left) + 1;
        is_console.then(|| u16::try_from(columns).ok()).flatten().filter(|width| *width > 0)
    }

    /// Windows consoles take escape sequences once they are told to.
    pub(in super::super) fn takes_colour() -> bool {
        [STD_OUTPUT_HANDLE, STD_ERROR_HANDLE].into_iter().any(enable)
    }

    fn enable(stream: STD_HANDLE) -> bool {
        let mut mode = 0;
        // SAFETY: `mode` is a valid place for the answer; a handle that is no console is answered
        // with 0, and then nothing is set.
        unsafe {
            let handle = GetStdHandle(stream);
            GetConsoleMode(handle, &raw mut mode) != 0
                && SetConsoleMode(handle, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING) != 0
        }
    }
}
