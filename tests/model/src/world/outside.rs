//! What the process reaches outside of itself: each call and each letter waits here until the play
//! answers it.

use bytes::Bytes;
use connector_core::dead_letter::Letter;
use connector_core::invoke::{Answer, NoAnswer};
use connector_core::source::StoreError;
use connector_core::testing::{Call, Outside};
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use tokio::sync::oneshot;

use super::{Answers, World};

/// A call or a letter that is on its way. Dropped, it was cut.
struct OnItsWay {
    world: World,
    number: u64,
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let mut state = self.world.lock();
        let cut = state.calls.remove(&self.number).map(|call| (call.event, call.function));
        let cut = cut.or_else(|| {
            let letter = state.letters.remove(&self.number)?;
            Some((letter.event, letter.function))
        });
        if let Some((event, function)) = cut {
            state.tell(|s| format!("    {} is no longer waited for", s.pair(event, function)));
        }
    }
}

impl Outside for World {
    fn call(&self, function: &str, call: Call) -> BoxFuture<'static, Result<Answer, NoAnswer>> {
        let world = self.clone();
        let (event, function) = (number(&call.body), number(function.trim_start_matches('f')));
        Box::pin(async move {
            let (tell, hear) = oneshot::channel();
            let number = world.lock().called(event, function);
            let _on_its_way = OnItsWay { world: world.clone(), number };
            if let Some(running) = world.lock().calls.get_mut(&number) {
                running.tell = Some(tell);
            }
            match hear.await {
                Ok(answer) => answer,
                // The process it belongs to is dead: whatever it would hear, it does not.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn store(&self, letter: &Letter) -> BoxFuture<'static, Result<(), StoreError>> {
        let world = self.clone();
        let event = number(&letter.event.payload);
        let function =
            letter.function.as_ref().map_or(0, |f| number(f.short().trim_start_matches('f')));
        let reason = letter.reason;
        Box::pin(async move {
            let (tell, hear) = oneshot::channel();
            let number = world.lock().buried(event, function, reason);
            let _on_its_way = OnItsWay { world: world.clone(), number };
            if let Some(storing) = world.lock().letters.get_mut(&number) {
                storing.tell = Some(tell);
            }
            match hear.await {
                Ok(true) => Ok(()),
                Ok(false) => Err(StoreError::Failed("refused".to_owned())),
                Err(_) => std::future::pending().await,
            }
        })
    }
}

impl From<Answers> for Result<Answer, NoAnswer> {
    fn from(answers: Answers) -> Self {
        let status = match answers {
            Answers::Well => StatusCode::OK,
            Answers::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Answers::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Answers::Refused => StatusCode::BAD_REQUEST,
            Answers::Closes => return Err(NoAnswer::Closed("by the model".to_owned())),
        };
        Ok(Answer { status, headers: HeaderMap::new(), body: Bytes::new() })
    }
}

/// The number that a payload or a function's name consists of.
fn number(text: impl AsRef<[u8]>) -> usize {
    let text = std::str::from_utf8(text.as_ref()).expect("the model's own texts are ASCII");
    text.parse().expect("the model's own texts are numbers")
}
