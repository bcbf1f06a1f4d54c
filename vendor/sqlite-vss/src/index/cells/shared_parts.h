// Values in parts that copies share until one of them changes: a copy costs a pointer a part, a change one part.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <vector>

namespace vss {

// The object for its holder alone: a copy of it where others hold it too.
template <class T>
T& own(std::shared_ptr<T>& shared) {
    // Counting this one as well orders what others did with the object, before they let go of it, before our changes.
    const std::shared_ptr<T> held = shared;
    constexpr long mine = 2;  // shared and held
    if (held.use_count() > mine) {
        shared = std::make_shared<T>(*held);
    }
    return *shared;
}

template <class T, std::size_t part_size = 128>
class SharedParts {
  public:
    using Part = std::array<T, part_size>;

    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] const T& operator[](std::size_t i) const { return (*parts_[i / part_size])[i % part_size]; }
    // References to the other values of its part, taken earlier, may be to the part as it was.
    [[nodiscard]] T& change(std::size_t i) { return own(parts_[i / part_size])[i % part_size]; }
    void reserve(std::size_t n) { parts_.reserve((n + part_size - 1) / part_size); }
    // To more values.
    void grow(std::size_t n) {
        while (parts_.size() * part_size < n) {
            parts_.push_back(std::make_shared<Part>());
        }
        size_ = std::max(size_, n);
    }
    // Two copies that give the same pointer hold the same values in this part.
    [[nodiscard]] std::size_t parts() const { return parts_.size(); }
    [[nodiscard]] std::shared_ptr<const Part> part(std::size_t number) const { return parts_[number]; }

  private:
    std::size_t size_ = 0;
    std::vector<std::shared_ptr<Part>> parts_;
};

}  // namespace vss
