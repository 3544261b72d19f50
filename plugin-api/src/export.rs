//! The macro that makes a library of plug-ins.

/// Exports plug-ins: the last line of a library.
///
/// Once in a crate of type `cdylib`, with every [`Plugin`](crate::Plugin) that it has: `export_plugin!(Hello);` or
/// `export_plugin!(Hello, Goodbye);`. What one implements for the host to call beside its endpoints stands behind it:
/// `export_plugin!(Hello, Code: Scheme);`, and with `+` where it is more than one.
#[macro_export]
macro_rules! export_plugin {
    ($($plugin:ty $(: $extension:ident $(+ $more:ident)*)?),+ $(,)?) => {
        /// The library's entry points, which the host looks for by this name.
        #[unsafe(no_mangle)]
        pub static PORTH_PLUGIN_V1: $crate::__private::abi::Plugin =
            $crate::__private::table::<$crate::__modules!($($plugin => [$($extension $($more)*)?]),+)>();

        /// What the host reads before it opens the library.
        #[used]
        #[unsafe(link_section = ".note.porth")]
        static PORTH_NOTE: $crate::__private::abi::Note = $crate::__private::abi::Note::new(
            // Asked here, so that it is answered for the crate that is linked into a library.
            if ::core::cfg!(panic = "unwind") {
                $crate::__private::abi::note::PANIC_UNWIND
            } else {
                $crate::__private::abi::note::PANIC_ABORT
            },
            $crate::__private::NOTE_FLAGS,
        );

        $crate::__export_layout!();
    };
}

/// `A => [], B => [Scheme]` as `((A, ()), ((B, (Scheme, ())), ()))`.
#[doc(hidden)]
#[macro_export]
macro_rules! __modules {
    () => { () };
    ($first:ty => [$($extension:ident)*] $(, $rest:ty => [$($more:ident)*])*) => {
        (($first, $crate::__extensions!($($extension)*)), $crate::__modules!($($rest => [$($more)*]),*))
    };
}

/// `A B` as `(A, (B, ()))`.
#[doc(hidden)]
#[macro_export]
macro_rules! __extensions {
    () => { () };
    ($first:ident $($rest:ident)*) => {
        ($crate::__private::extensions::$first, $crate::__extensions!($($rest)*))
    };
}

/// What the host compares after it has opened the library.
#[cfg(feature = "layout")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_layout {
    () => {
        /// The layout of everything that crosses the border, as this library was compiled with it.
        #[unsafe(no_mangle)]
        pub static PORTH_LAYOUT_V1: $crate::__private::abi::layout::LayoutExport =
            $crate::__private::abi::layout::LayoutExport::VALUE;
    };
}

/// Nothing to compare: the feature `layout` is off.
#[cfg(not(feature = "layout"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_layout {
    () => {};
}

/// The flags of the note.
#[doc(hidden)]
pub const NOTE_FLAGS: u32 = if cfg!(feature = "layout") { porth_abi::note::FLAG_LAYOUT } else { 0 };
