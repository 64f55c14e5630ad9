//! A question that many have at the same time, asked as seldom as that allows.

use futures::lock::Mutex;
use std::cell::Cell;

/// Answers that are shared.
///
/// An answer counts for those who came before its question was sent, and for nobody else: what it says was so after they came. While
/// one question is under way everybody who comes waits, and the next one is for them all.
#[derive(Debug)]
pub struct Questions<T: Copy> {
    /// Held by the one who asks.
    turn: Mutex<()>,
    /// How many were sent.
    sent: Cell<u64>,
    /// The last one that was answered, and its answer.
    answered: Cell<Option<(u64, T)>>,
}

impl<T: Copy> Default for Questions<T> {
    fn default() -> Self {
        Self { turn: Mutex::new(()), sent: Cell::new(0), answered: Cell::new(None) }
    }
}

impl<T: Copy> Questions<T> {
    /// The answer to a question that is sent from now on: one's own, or that of somebody who came at the same time.
    ///
    /// # Errors
    /// Those of the own question. Somebody else's error is nobody's answer.
    ///
    /// # Cancellation safety
    /// If the one who asks gives up, the next one asks.
    pub async fn ask<E>(&self, question: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
        let before = self.sent.get();
        let _turn = self.turn.lock().await;
        if let Some((_, answer)) = self.answered.get().filter(|(number, _)| *number > before) {
            return Ok(answer);
        }
        let number = self.sent.get() + 1;
        self.sent.set(number);
        let answer = question().await?;
        self.answered.set(Some((number, answer)));
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::channel::oneshot;
    use std::cell::RefCell;
    use std::collections::VecDeque;

    /// Questions whose answers the test gives.
    struct Asked {
        questions: Questions<u32>,
        open: RefCell<VecDeque<oneshot::Sender<Result<u32, &'static str>>>>,
    }

    impl Asked {
        fn new() -> Self {
            Self { questions: Questions::default(), open: RefCell::default() }
        }

        async fn ask(&self) -> Result<u32, &'static str> {
            let question = async || {
                let (sender, answer) = oneshot::channel();
                self.open.borrow_mut().push_back(sender);
                answer.await.unwrap()
            };
            self.questions.ask(question).await
        }

        fn answer(&self, answer: Result<u32, &'static str>) {
            self.open.borrow_mut().pop_front().unwrap().send(answer).unwrap();
        }
    }

    #[test]
    fn those_who_come_during_a_question_share_the_next() {
        let asked = Asked::new();
        let mut first = Box::pin(asked.ask());
        assert!(first.as_mut().now_or_never().is_none());
        let mut late = [Box::pin(asked.ask()), Box::pin(asked.ask())];
        assert!(late.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert_eq!(asked.open.borrow().len(), 1, "one at a time");
        asked.answer(Ok(1));
        assert_eq!(first.now_or_never(), Some(Ok(1)));
        assert!(late[0].as_mut().now_or_never().is_none(), "the first answer may be older than they are");
        assert!(late[1].as_mut().now_or_never().is_none());
        asked.answer(Ok(2));
        assert!(late.into_iter().all(|one| one.now_or_never() == Some(Ok(2))));
        assert!(asked.open.borrow().is_empty());
    }

    #[test]
    fn who_gives_up_or_fails_leaves_it_to_the_next() {
        let asked = Asked::new();
        let mut first = Box::pin(asked.ask());
        let mut second = Box::pin(asked.ask());
        let mut third = Box::pin(asked.ask());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        asked.open.borrow_mut().clear();
        assert!(second.as_mut().now_or_never().is_none());
        asked.answer(Err("no"));
        assert_eq!(second.now_or_never(), Some(Err("no")));
        assert!(third.as_mut().now_or_never().is_none());
        asked.answer(Ok(3));
        assert_eq!(third.now_or_never(), Some(Ok(3)));
    }
}
