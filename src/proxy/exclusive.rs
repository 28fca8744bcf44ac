//! `SO_EXCLUSIVEADDRUSE`, which `socket2` does not know. Windows only.

use std::io;
use std::os::windows::io::AsRawSocket;

use socket2::Socket;
use windows_sys::Win32::Networking::WinSock::{
    SO_EXCLUSIVEADDRUSE, SOCKET, SOCKET_ERROR, SOL_SOCKET, WSAGetLastError, setsockopt,
};

/// Keeps every other process from binding the same port while `socket` has it.
pub(super) fn set_exclusive(socket: &Socket) -> io::Result<()> {
    let on: i32 = 1;
    let length = i32::try_from(size_of_val(&on)).unwrap_or(4);
    let handle = SOCKET::try_from(socket.as_raw_socket()).map_err(io::Error::other)?;
    // SAFETY: the handle is open for as long as `socket` is borrowed; the value is a live `i32`
    // whose size is the length given.
    let result = unsafe {
        setsockopt(
            handle,
            SOL_SOCKET,
            SO_EXCLUSIVEADDRUSE,
            std::ptr::from_ref(&on).cast::<u8>(),
            length,
        )
    };
    match result {
        // SAFETY: reads the calling thread's last error, nothing else.
        SOCKET_ERROR => Err(io::Error::from_raw_os_error(unsafe { WSAGetLastError() })),
        _ => Ok(()),
    }
}
