//! What only Windows has: console events, processes held by handles, locks that keep others from
//! reading, a guardian without a console, callers whose user no socket tells. Run on Windows or under Wine.

mod callers;
mod console;
mod demo;
mod ending;
mod guardian;
mod images;
mod ports;
