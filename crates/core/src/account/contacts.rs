//! The people the vendor talks to, and the approaches they left unanswered.

use serde::{Deserialize, Serialize};

use super::size;
use crate::{
    event::{ContactAction, ContactTouch, Role},
    ids::{ContactId, UserId},
    time::EventTime,
};

/// Contacts kept in one account; the one touched longest ago makes room.
pub const MAX_CONTACTS: usize = 64;
/// Unanswered approaches kept of one contact.
const MAX_UNANSWERED: usize = 8;

/// All contacts of an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Contacts(Vec<Contact>);

/// One contact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// Who.
    pub id: ContactId,
    /// Their user, where they also use the product.
    pub user: Option<UserId>,
    /// Their declared role.
    pub role: Option<Role>,
    /// Until when they are known to be away.
    pub away_until: Option<EventTime>,
    /// Approaches without an answer, oldest first.
    pub unanswered: Vec<EventTime>,
    /// When anything last passed.
    pub last_touch: EventTime,
    /// Whether they left or their mail bounced.
    pub gone: bool,
}

impl Contact {
    /// The id under which alerts about this contact run: their user's, where
    /// there is one.
    pub fn subject(&self) -> UserId {
        self.user
            .clone()
            .unwrap_or_else(|| UserId::new(self.id.as_str()))
    }

    /// How many approaches of the `days` before `now` are unanswered.
    pub fn unanswered_within(&self, now: EventTime, days: i64) -> usize {
        let since = now.plus_days(-days);
        self.unanswered
            .iter()
            .filter(|&&sent| sent > since && sent <= now)
            .count()
    }

    /// Whether an absence is known at `now`.
    pub fn is_away(&self, now: EventTime) -> bool {
        self.away_until.is_some_and(|until| until > now)
    }
}

impl Contacts {
    /// What the contacts take beside the list's head, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let of_contact = |contact: &Contact| {
            contact.id.as_str().len()
                + contact.user.as_ref().map_or(0, |user| user.as_str().len())
                + size::of_vec(&contact.unanswered)
        };
        size::of_vec(&self.0) + self.0.iter().map(of_contact).sum::<usize>()
    }

    /// Takes in a touch.
    pub fn touch(&mut self, touch: &ContactTouch, time: EventTime) {
        let index = match self
            .0
            .iter()
            .position(|contact| contact.id == touch.contact)
        {
            Some(index) => index,
            None => {
                if self.0.len() >= MAX_CONTACTS {
                    let oldest = (0..self.0.len()).min_by_key(|&i| self.0[i].last_touch);
                    self.0.remove(oldest.unwrap_or(0));
                }
                self.0.push(Contact {
                    id: touch.contact.clone(),
                    user: None,
                    role: None,
                    away_until: None,
                    unanswered: Vec::new(),
                    last_touch: time,
                    gone: false,
                });
                self.0.len() - 1
            }
        };
        let contact = &mut self.0[index];
        contact.last_touch = contact.last_touch.max(time);
        if touch.user.is_some() {
            contact.user.clone_from(&touch.user);
        }
        if touch.role.is_some() {
            contact.role = touch.role;
        }
        match touch.action {
            ContactAction::MailSent => {
                if contact.unanswered.len() >= MAX_UNANSWERED {
                    contact.unanswered.remove(0);
                }
                contact.unanswered.push(time);
                contact.unanswered.sort_unstable();
            }
            // An answer settles what was asked before it.
            ContactAction::MailAnswered | ContactAction::Meeting => {
                contact.unanswered.retain(|&sent| sent > time);
                contact.away_until = contact.away_until.filter(|&until| until <= time);
            }
            ContactAction::OutOfOffice => {
                contact.away_until = touch.until.or(Some(time.plus_days(14)));
            }
            ContactAction::Left | ContactAction::Bounced => contact.gone = true,
            ContactAction::Joined => contact.gone = false,
            ContactAction::Advocacy => {}
        }
    }

    /// All contacts, in the order in which they became known.
    pub fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.0.iter()
    }

    /// The contact who is this user.
    pub fn of_user(&self, user: &UserId) -> Option<&Contact> {
        self.0
            .iter()
            .find(|contact| contact.user.as_ref() == Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(contact: &str, action: ContactAction) -> ContactTouch {
        ContactTouch {
            contact: contact.into(),
            role: None,
            user: None,
            action,
            until: None,
        }
    }

    #[test]
    fn an_answer_settles_the_approaches_before_it() {
        let mut contacts = Contacts::default();
        let day = |day: i64| EventTime::from_millis(0).plus_days(day);
        contacts.touch(&touch("c", ContactAction::MailSent), day(1));
        contacts.touch(&touch("c", ContactAction::MailSent), day(10));
        let count = |contacts: &Contacts, now| {
            contacts
                .iter()
                .next()
                .map(|contact| contact.unanswered_within(day(now), 21))
        };
        assert_eq!(count(&contacts, 11), Some(2));
        assert_eq!(
            count(&contacts, 23),
            Some(1),
            "the first is out of the window"
        );
        contacts.touch(&touch("c", ContactAction::MailAnswered), day(5));
        assert_eq!(count(&contacts, 11), Some(1));
    }

    #[test]
    fn contacts_are_bounded_and_the_least_recent_makes_room() {
        let mut contacts = Contacts::default();
        for i in 0..=MAX_CONTACTS {
            let name = format!("c{i}");
            contacts.touch(
                &touch(&name, ContactAction::Meeting),
                EventTime::from_millis(i as i64),
            );
        }
        assert_eq!(contacts.iter().count(), MAX_CONTACTS);
        assert!(contacts.iter().all(|contact| contact.id.as_str() != "c0"));
    }
}
