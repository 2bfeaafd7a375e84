// @name@.hpp: the model @name@ for C++20, @precision@. Written by kdpinn_edge @version@; link as for @name@.h.
//
// Points and values are spans: n points of @n_in@ numbers (@inputs@), and n rows of values, one after the other. There is no
// state, no exception and no allocation. @name@.h has the constants for the columns of y.
#ifndef KDPINN_MODEL_@NAME@_HPP
#define KDPINN_MODEL_@NAME@_HPP

#include <cstddef>
#include <cstdint>
#include <span>

#include "@name@.h"

namespace kdpinn::@name@ {

/// Numbers of a point.
inline constexpr ::std::size_t n_in = @NAME@_N_IN;

/// What a function returns where the sizes of x and y do not belong together; other codes are those of kdpinn_edge.h.
inline constexpr ::std::int32_t wrong_size = -100;

@each function@
/// @meaning@: y[i] for each point x[i]. Returns KDPINN_OK, wrong_size or a code < 0.
[[nodiscard]] inline ::std::int32_t @function@(::std::span<const @scalar@> x, ::std::span<@scalar@> y) noexcept
{
    const ::std::size_t n = x.size() / n_in;
    if (x.size() != n * n_in || y.size() != n * @NAME@_@FUNCTION@_N_OUT) {
        return wrong_size;
    }
    return ::@name@_@function@(x.data(), y.data(), static_cast<::std::int64_t>(n));
}

@end@
@each function_for@
/// @function@ for one p, the inputs that are constant during a call; x has the others.
[[nodiscard]] inline ::std::int32_t @function@_for(::std::span<const @scalar@, @NAME@_N_P> p, ::std::span<const @scalar@> x,
                                                   ::std::span<@scalar@> y) noexcept
{
    const ::std::size_t n = x.size() / @NAME@_N_X;
    if (x.size() != n * @NAME@_N_X || y.size() != n * @NAME@_@FUNCTION@_N_OUT) {
        return wrong_size;
    }
    return ::@name@_@function@_for(p.data(), x.data(), y.data(), static_cast<::std::int64_t>(n));
}

@end@
@each function_fixed@
/// @function@ in integers alone: words with the fraction bits that @name@.h states.
[[nodiscard]] inline ::std::int32_t @function@_fixed(::std::span<const ::std::int32_t> x, ::std::span<::std::int32_t> y) noexcept
{
    const ::std::size_t n = x.size() / n_in;
    if (x.size() != n * n_in || y.size() != n * @NAME@_@FUNCTION@_N_OUT) {
        return wrong_size;
    }
    return ::@name@_@function@_fixed(x.data(), y.data(), static_cast<::std::int64_t>(n));
}

@end@
/// How many of the points lie outside the domain box; a code < 0 on bad arguments.
[[nodiscard]] inline ::std::int64_t outside(::std::span<const @scalar@> x) noexcept
{
    return x.size() % n_in != 0 ? wrong_size : ::@name@_outside(x.data(), static_cast<::std::int64_t>(x.size() / n_in));
}

/// 0 if this processor returns the golden bits.
[[nodiscard]] inline ::std::int32_t selftest() noexcept { return ::@name@_selftest(); }

/// 0 if code and constants in memory are those that were exported.
[[nodiscard]] inline ::std::int32_t integrity() noexcept { return ::@name@_integrity(); }

/// Whether the library that runs has the Programs of this header; else it is another version of the model.
[[nodiscard]] inline bool matches() noexcept { return ::@name@_matches() != 0; }

} // namespace kdpinn::@name@

#endif // KDPINN_MODEL_@NAME@_HPP
