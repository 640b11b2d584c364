//! What is kept by an id that is given out in order: a window over the ids in use, found without a search.

use std::collections::VecDeque;

/// Values by rising number. Memory spans from the oldest number in use to the newest.
#[derive(Debug)]
pub(crate) struct Window<T> {
    first: u64,
    values: VecDeque<Option<T>>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { first: 0, values: VecDeque::new() }
    }
}

impl<T> Window<T> {
    /// Keeps a value under the next number.
    ///
    /// # Panics
    /// If `number` is not the next one.
    pub(crate) fn push(&mut self, number: u64, value: T) {
        assert_eq!(number, self.first + self.values.len() as u64, "numbers rise by one");
        self.values.push_back(Some(value));
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let index = self.index(number)?;
        self.values.get_mut(index)?.as_mut()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        self.values.get(self.index(number)?)?.as_ref()
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let index = self.index(number)?;
        let value = self.values.get_mut(index)?.take();
        while let Some(None) = self.values.front() {
            self.values.pop_front();
            self.first += 1;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_numbers_until_they_are_removed() {
        let mut window = Window::default();
        for number in 0..4 {
            window.push(number, number * 10);
        }
        assert_eq!(window.remove(1), Some(10));
        assert_eq!(window.remove(1), None);
        assert_eq!((window.get(1), window.get(9)), (None, None));
        assert_eq!((window.remove(0), window.first), (Some(0), 2));
        *window.get_mut(2).unwrap() += 1;
        assert_eq!((window.get(2), window.get(3), window.get(0)), (Some(&21), Some(&30), None));
        window.push(4, 40);
        assert_eq!(window.get(4), Some(&40));
    }
}
