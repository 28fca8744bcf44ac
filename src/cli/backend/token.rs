//! Which server is shown which token.

use std::path::{Path, PathBuf};

use super::reach::{Reach, is_loopback};
use crate::model::Fault;
use crate::ops::token_file_fault;
use crate::rpc::{Client, ClientError};
use crate::store::{Owner, control_token_path, read_token};
use crate::text;

impl Reach<'_> {
    /// Where the server of this database leaves its token.
    pub(super) fn token_path(&self) -> PathBuf {
        let state_dir = self.settings.state_dir.as_deref();
        control_token_path(&self.location, &self.settings.node_name, state_dir)
    }

    /// Shows the server at `url` the token where that is needed: the one that was named to any
    /// server that is to be asked, the one beside the database only to the server of that database.
    pub(super) async fn introduced(
        &self,
        mut client: Box<Client>,
        url: &str,
        is_same: bool,
    ) -> Result<Box<Client>, ClientError> {
        let is_overheard = may_be_overheard(url);
        let token = match &self.settings.token_file {
            Some(_) if is_overheard => {
                return Err(Fault::usage(text::access::token_in_the_clear(url)).into());
            }
            Some(path) => Some(read_token(path).map_err(|error| token_file_fault(&error))?),
            None if client.is_limited() && is_same && !is_overheard => self.token_of(&client),
            None => None,
        };
        if let Some(token) = token {
            client.authorize(&token).await?;
        }
        Ok(client)
    }

    /// The token beside the database, if `client` leads to whoever may know it. The UUID alone
    /// proves nothing: a server tells it to everybody, and its port is anybody's once it is gone. A
    /// token of another user, or of a server that was given another file: the server says no.
    fn token_of(&self, client: &Client) -> Option<String> {
        // Nobody listens who made it.
        if !matches!(self.owner(), Ok(Owner::Held(_))) {
            return None;
        }
        let path = self.token_path();
        if is_of_a_stranger(client, &path) { None } else { read_token(&path).ok() }
    }
}

/// Whether what is sent to `url` crosses a network in the clear.
fn may_be_overheard(url: &str) -> bool {
    !url.starts_with("https:") && !is_loopback(url)
}

/// Whether the far end is seen to be a socket of somebody who cannot read the file at `path`
/// anyway. Where its user cannot be seen (another machine, network namespace or system) it is not.
#[cfg(unix)]
fn is_of_a_stranger(client: &Client, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (own, far) = client.ends();
    // Seen from here it is the server that is the peer.
    let Some(socket) = crate::host::peer_socket(own, far) else { return false };
    let owner = std::fs::metadata(path).ok().map(|file| file.uid());
    socket.uid != 0 && owner != Some(socket.uid)
}

/// No other system tells whose a socket is.
#[cfg(not(unix))]
fn is_of_a_stranger(_client: &Client, _path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_off_this_machine_and_without_tls_may_a_token_be_overheard() {
        for url in ["http://192.0.2.1:3000", "http://host.example:3000", "http://0.0.0.0:3000"] {
            assert!(may_be_overheard(url), "{url}");
        }
        for url in ["http://127.0.0.1:3000", "http://localhost:3000", "https://host.example:3000"] {
            assert!(!may_be_overheard(url), "{url}");
        }
    }
}
