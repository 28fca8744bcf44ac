//! What a guardian does all its life: nothing, until its server is gone.

use std::io::{self, BufRead};

use super::charge::{Charge, Word};
use crate::host::{self, Pinned};

/// How the watch ended.
pub enum Watched {
    /// The server said goodbye, or was gone before it had anything to clean up.
    Goodbye,
    /// The server ended without a goodbye, and this is to be done.
    Died(Box<Charge>),
}

/// Waits for the end of the server whose words come by standard input. Takes no processor time while
/// the server lives, be it stopped by a signal or not.
pub fn watch() -> Watched {
    let (mut charge, mut pinned): (Option<Box<Charge>>, Option<Pinned>) = (None, None);
    let mut heard = Vec::new();
    loop {
        if pinned.as_ref().is_some_and(Pinned::ends_before_input) {
            break;
        }
        match read(&mut heard) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A pipe that cannot be read tells nothing any more.
            Err(_) => break,
        }
        while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
            match Word::read(&heard[..end]) {
                Some(Word::Goodbye) => return Watched::Goodbye,
                Some(Word::Charge(new)) => {
                    // One that is gone already, or cannot be pinned, is told by the end of the pipe.
                    pinned = host::pin(&new.server).ok();
                    charge = Some(new);
                }
                None => {}
            }
            heard.drain(..=end);
        }
    }
    charge.map_or(Watched::Goodbye, Watched::Died)
}

/// Reads what is there, and waits for it if there is nothing. The buffer of standard input is left
/// empty, so that the next wait sees what comes next.
fn read(heard: &mut Vec<u8>) -> io::Result<usize> {
    let mut input = io::stdin().lock();
    let chunk = input.fill_buf()?;
    heard.extend_from_slice(chunk);
    let length = chunk.len();
    input.consume(length);
    Ok(length)
}
