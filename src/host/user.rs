//! Names of users and of this machine.

/// The name of the user this process runs as; the uid in digits where it has no name.
pub fn current_user_name() -> String {
    todo!()
}

/// The name of this machine; `localhost` where it has none.
pub fn hostname() -> String {
    todo!()
}
