//! The consumer group: who is in it, and who is to have which partition.
//!
//! Cooperative, with named members: a partition changes hands in two rounds,
//! since its new owner gets it only when the former one has let it go, or has
//! been thrown out. A process that comes back under its name takes over the
//! place of its predecessor, whose id is then worth nothing.

use std::collections::BTreeMap;

use super::random::Random;

/// One stay in the group; never used again.
pub(super) type MemberId = u64;

#[derive(Debug, Clone)]
pub(super) struct Group {
    partitions: i32,
    pub(super) generation: u32,
    /// The name of each member: its slot.
    members: BTreeMap<MemberId, usize>,
    last_id: MemberId,
    /// Who is to have each partition.
    target: BTreeMap<i32, MemberId>,
    /// Who was given each partition and has not let it go.
    owner: BTreeMap<i32, MemberId>,
}

impl Group {
    pub(super) fn new(partitions: i32) -> Self {
        Self {
            partitions,
            generation: 0,
            members: BTreeMap::new(),
            last_id: 0,
            target: BTreeMap::new(),
            owner: BTreeMap::new(),
        }
    }

    pub(super) fn has(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// The member of a slot.
    pub(super) fn of_slot(&self, slot: usize) -> Option<MemberId> {
        self.members
            .iter()
            .find_map(|(id, name)| (*name == slot).then_some(*id))
    }

    pub(super) fn slots(&self) -> Vec<usize> {
        self.members.values().copied().collect()
    }

    /// Takes a process in. Where its slot has a member, it takes that place and
    /// nothing moves; else the partitions are divided anew.
    pub(super) fn join(&mut self, slot: usize, random: &mut Random) -> MemberId {
        self.last_id += 1;
        let id = self.last_id;
        match self.of_slot(slot) {
            Some(before) => {
                self.members.remove(&before);
                self.members.insert(id, slot);
                self.owner.retain(|_, owner| *owner != before);
                for member in self.target.values_mut() {
                    if *member == before {
                        *member = id;
                    }
                }
            }
            None => {
                self.members.insert(id, slot);
                self.rebalance(random);
            }
        }
        id
    }

    /// A member leaves, or is thrown out.
    pub(super) fn remove(&mut self, member: MemberId, random: &mut Random) {
        if self.members.remove(&member).is_some() {
            self.owner.retain(|_, owner| *owner != member);
            self.rebalance(random);
        }
    }

    /// Divides the partitions anew; most stay where they are.
    pub(super) fn rebalance(&mut self, random: &mut Random) {
        self.generation += 1;
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        let before = std::mem::take(&mut self.target);
        for partition in 0..self.partitions {
            let stays = before
                .get(&partition)
                .copied()
                .filter(|member| self.has(*member) && random.chance(600));
            if let Some(member) = stays.or_else(|| random.one_of(&members)) {
                self.target.insert(partition, member);
            }
        }
    }

    pub(super) fn is_target(&self, partition: i32, member: MemberId) -> bool {
        self.target.get(&partition) == Some(&member)
    }

    /// The partitions that a member is to have and may have now; they are its
    /// own from then on.
    pub(super) fn claim(&mut self, member: MemberId) -> Vec<i32> {
        let free: Vec<i32> = self
            .target
            .iter()
            .filter(|(partition, target)| {
                let owner = self.owner.get(partition);
                **target == member && owner.is_none_or(|owner| *owner == member)
            })
            .map(|(partition, _)| *partition)
            .collect();
        for partition in &free {
            self.owner.insert(*partition, member);
        }
        free
    }

    /// A member lets a partition go.
    pub(super) fn release(&mut self, partition: i32, member: MemberId) {
        if self.owner.get(&partition) == Some(&member) {
            self.owner.remove(&partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_claimed_once_its_former_owner_has_let_it_go() {
        let random = &mut Random::new(1);
        let mut group = Group::new(1);
        let first = group.join(0, random);
        assert_eq!(group.claim(first), [0]);
        let second = group.join(1, random);
        while !group.is_target(0, second) {
            group.rebalance(random);
        }
        assert!(group.claim(second).is_empty());
        group.release(0, first);
        assert_eq!(group.claim(second), [0]);
    }

    #[test]
    fn a_name_that_comes_back_takes_over_its_place_under_another_id() {
        let random = &mut Random::new(1);
        let mut group = Group::new(2);
        let before = group.join(0, random);
        group.claim(before);
        let generation = group.generation;
        let after = group.join(0, random);
        assert_eq!(group.generation, generation);
        assert!(group.has(after) && !group.has(before));
        assert_eq!(group.claim(after), [0, 1]);
        group.remove(after, random);
        assert!(group.slots().is_empty() && group.generation > generation);
    }
}
