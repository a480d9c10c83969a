//! The bindings of a headers exchange, found by the headers of a message.
//!
//! Bindings that ask for the same are one rule with several values. A rule that wants all of its criteria is listed
//! under the one of them that lists the fewest rules so far, one that wants any under each. So a message asks the rules
//! that share a header with it, and not all that there are.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use leveret_codec::table::Entry;
use leveret_codec::{Table, TableBuf, Value};
use slab::Slab;
use smallvec::SmallVec;

use super::{Headers, HeadersMatch, Quantifier};
use crate::broker::arguments::term;
use crate::broker::bag::Bag;
use crate::broker::error::Checked;
use crate::broker::limits;

/// Values by what they ask of headers.
pub struct HeadersTable<T> {
    rules: Slab<Rule<T>>,
    by_match: HashMap<HeadersMatch, usize>,
    // why: hashed for the same reason as the words of a topic; nothing iterates over them.
    by_criterion: HashMap<Box<[u8]>, Bag<usize>>,
    /// Rules that take every message.
    unconditional: Bag<usize>,
    /// How many messages have been looked up.
    round: u64,
}

struct Rule<T> {
    matches: HeadersMatch,
    /// The values, and how many bindings give each.
    values: BTreeMap<T, usize>,
    /// The criteria it is listed under.
    listed: Vec<Box<[u8]>>,
    /// The last round in which it was asked.
    asked_in: u64,
}

impl<T> Default for HeadersTable<T> {
    fn default() -> Self {
        HeadersTable {
            rules: Slab::new(),
            by_match: HashMap::new(),
            by_criterion: HashMap::new(),
            unconditional: Bag::default(),
            round: 0,
        }
    }
}

impl<T: Ord> HeadersTable<T> {
    /// Adds a value for a binding with these arguments.
    pub fn insert(&mut self, arguments: &TableBuf, value: T) -> Checked<()> {
        let matches = HeadersMatch::parse(arguments)?;
        let rule = match self.by_match.get(&matches) {
            Some(&rule) => rule,
            None => self.add_rule(matches),
        };
        *self.rules[rule].values.entry(value).or_default() += 1;
        Ok(())
    }

    /// Takes away a value that was added with the same arguments.
    pub fn remove(&mut self, arguments: &TableBuf, value: &T) {
        let Ok(matches) = HeadersMatch::parse(arguments) else { return };
        let Some(&id) = self.by_match.get(&matches) else { return };
        let rule = &mut self.rules[id];
        match rule.values.get_mut(value) {
            Some(bindings) if *bindings > 1 => *bindings -= 1,
            _ => drop(rule.values.remove(value)),
        }
        if rule.values.is_empty() {
            self.remove_rule(id);
        }
    }

    fn add_rule(&mut self, matches: HeadersMatch) -> usize {
        let mut criteria: Vec<_> = matches.criteria.as_table().iter().map(criterion_key).collect();
        let is_unconditional = matches.quantifier == Quantifier::All && criteria.is_empty();
        if matches.quantifier == Quantifier::All {
            // why: of criteria that many rules have, a message that meets them would ask all of those.
            let rare = |key: &_| self.by_criterion.get::<Box<[u8]>>(key).map_or(0, Bag::len);
            criteria = criteria.into_iter().min_by_key(rare).into_iter().collect();
        }
        let rule = Rule {
            matches: matches.clone(),
            values: BTreeMap::new(),
            listed: criteria,
            asked_in: 0,
        };
        let id = self.rules.insert(rule);
        for key in &self.rules[id].listed {
            self.by_criterion.entry(key.clone()).or_default().insert(id);
        }
        if is_unconditional {
            self.unconditional.insert(id);
        }
        self.by_match.insert(matches, id);
        id
    }

    fn remove_rule(&mut self, id: usize) {
        let rule = self.rules.remove(id);
        for key in &rule.listed {
            if let Some(rules) = self.by_criterion.get_mut(key) {
                rules.remove(&id);
                if rules.is_empty() {
                    self.by_criterion.remove(key);
                }
            }
        }
        self.unconditional.remove(&id);
        self.by_match.remove(&rule.matches);
    }
}

impl<T> HeadersTable<T> {
    /// Calls `each` for the values of every rule that a message with these headers is for, a value once for each of
    /// its rules. Says how many steps that took: about one for each header and for each rule that was asked.
    pub fn for_each_match(
        &mut self,
        headers: Option<Table<'_>>,
        mut each: impl FnMut(&T),
    ) -> usize {
        self.round += 1;
        for &rule in self.unconditional.iter() {
            self.rules[rule].values.keys().for_each(&mut each);
        }
        if self.by_criterion.is_empty() {
            return 0;
        }
        let headers = Headers::of(headers);
        let mut steps = headers.len();
        let mut key = SmallVec::<[u8; 64]>::new();
        for (name, value) in headers.iter() {
            // Those that want it to be there, and those that want this value.
            put_name(name, &mut key);
            let present = self.by_criterion.get(&key[..]);
            term::put_key(value, &mut key);
            let equal = self.by_criterion.get(&key[..]);
            for &id in present.into_iter().chain(equal).flat_map(Bag::iter) {
                let rule = &mut self.rules[id];
                if std::mem::replace(&mut rule.asked_in, self.round) == self.round {
                    continue;
                }
                let octets = rule.matches.criteria.as_table().as_bytes().len();
                steps += 1 + octets / limits::OCTETS_A_STEP;
                if rule.matches.is_met(&headers) {
                    rule.values.keys().for_each(&mut each);
                }
            }
        }
        steps
    }
}

/// What a criterion is listed under.
fn criterion_key(criterion: Entry<'_>) -> Box<[u8]> {
    let mut key = SmallVec::<[u8; 64]>::new();
    put_name(criterion.name.as_bytes(), &mut key);
    // spec: a field without a value only has to be there.
    if criterion.value != Value::Void {
        term::put_key(&criterion.value, &mut key);
    }
    key.as_slice().into()
}

fn put_name(name: &[u8], key: &mut SmallVec<[u8; 64]>) {
    key.clear();
    key.push(name.len() as u8);
    key.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use leveret_codec::table::TableBuilder;
    use proptest::prelude::*;

    use super::*;

    fn table(entries: &[(u8, u8)]) -> TableBuf {
        let mut table = TableBuilder::default();
        for (name, value) in entries {
            let value = match value {
                0 => Value::Void,
                1 => Value::I32(1),
                2 => Value::F64(1.0),
                3 => Value::LongStr(b"1"),
                4 => Value::LongStr(b"all"),
                5 => Value::LongStr(b"any"),
                _ => Value::Bool(true),
            };
            table.push([&b"x-match"[..], b"a", b"b", b"x-c", b"d"][*name as usize], &value);
        }
        table.finish()
    }

    fn arguments() -> impl Strategy<Value = TableBuf> {
        let criteria = prop::collection::vec((1_u8..5, 0_u8..7), 0..4);
        (4_u8..6, criteria)
            .prop_map(|(quantifier, criteria)| table(&[&[(0, quantifier)][..], &criteria].concat()))
    }

    proptest! {
        #[test]
        fn it_finds_what_asking_each_finds(
            steps in prop::collection::vec((arguments(), 0_u32..3, any::<bool>()), 0..30),
            messages in prop::collection::vec(prop::collection::vec((0_u8..5, 0_u8..7), 0..5), 1..6),
        ) {
            let (mut found_by_table, mut model) = (HeadersTable::default(), Vec::new());
            for (arguments, value, inserts) in steps {
                let binding = (arguments.clone(), value);
                if inserts {
                    found_by_table.insert(&arguments, value).expect("they are valid");
                    model.push(binding);
                } else if let Some(at) = model.iter().position(|other| *other == binding) {
                    found_by_table.remove(&arguments, &value);
                    model.swap_remove(at);
                }
            }
            for headers in messages {
                let headers = table(&headers);
                let headers = Some(headers.as_table());
                let mut found = Vec::new();
                found_by_table.for_each_match(headers, |value| found.push(*value));
                let matching = model.iter().filter(|(arguments, _)| {
                    HeadersMatch::parse(arguments).expect("valid").matches(headers)
                });
                let mut expected: Vec<_> = matching.map(|(_, value)| *value).collect();
                for list in [&mut found, &mut expected] {
                    list.sort_unstable();
                    list.dedup();
                }
                prop_assert_eq!(found, expected);
            }
            for (arguments, value) in model {
                found_by_table.remove(&arguments, &value);
            }
            prop_assert!(found_by_table.rules.is_empty() && found_by_table.by_match.is_empty());
            prop_assert!(found_by_table.by_criterion.is_empty());
            prop_assert!(found_by_table.unconditional.is_empty());
        }
    }

    #[test]
    fn only_rules_that_share_a_header_are_asked() {
        let mut rules = HeadersTable::default();
        let numbered = |number: i32| {
            let mut table = TableBuilder::default();
            table.push(b"all alike", &Value::Bool(true));
            table.push(b"number", &Value::I32(number));
            table.finish()
        };
        for number in 0..10_000 {
            rules.insert(&numbered(number), number).expect("they are valid");
        }
        let headers = numbered(77);
        let mut found = Vec::new();
        let steps = rules.for_each_match(Some(headers.as_table()), |value| found.push(*value));
        assert_eq!(found, [77]);
        assert!(steps < 10, "{steps}");
    }
}
