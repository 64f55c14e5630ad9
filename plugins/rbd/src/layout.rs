//! How an image is cut into objects.

use wasmount_ceph::striper::Layout;

/// Orders of object sizes (powers of two) that `rbd` allows, with some room: 4 KiB to 32 MiB.
const ORDERS: std::ops::RangeInclusive<u8> = 9..=30;

/// Objects of `1 << order` bytes. `stripes` is unit and count, if the image has the feature.
///
/// # Errors
/// What is impossible about it.
pub fn layout(order: u8, stripes: Option<(u64, u64)>) -> Result<Layout, String> {
    if !ORDERS.contains(&order) {
        return Err(format!("objects of 2^{order} bytes"));
    }
    let object_size = 1_u64 << order;
    let (unit, count) = match stripes {
        None | Some((0, _) | (_, 0)) => (object_size, 1),
        Some(stripes) => stripes,
    };
    Layout::new(object_size, unit, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked() {
        assert!(layout(5, None).is_err());
        assert!(layout(63, None).is_err());
        assert!(layout(22, Some((4095, 2))).is_err());
        assert_eq!(layout(13, Some((4096, 3))), Layout::new(8192, 4096, 3));
        assert_eq!(layout(22, Some((0, 0))), layout(22, None));
    }
}
