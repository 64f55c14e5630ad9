//! A panic in a component is a trap, and its text would be lost: log it through the host first.

use crate::log;
use std::panic::PanicHookInfo;
use std::sync::Once;

static INSTALLED: Once = Once::new();

/// Sends the message and the place of any later panic to the host's log. Cheap when called again.
pub(crate) fn install() {
    INSTALLED.call_once(|| std::panic::set_hook(Box::new(|info| log::error(&sentence(info)))));
}

fn sentence(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    match info.location() {
        Some(place) => format!("the plugin panicked at {place}: {text}"),
        None => format!("the plugin panicked: {text}"),
    }
}
