// A value that a variable has for as long as a scope lasts, however the scope ends.
#pragma once

#include <utility>

namespace vss {

template <typename Value>
class ScopedValue {
  public:
    ScopedValue(Value& variable, Value value) : variable_(variable), before_(std::exchange(variable, value)) {}
    ScopedValue(const ScopedValue&) = delete;
    ScopedValue& operator=(const ScopedValue&) = delete;
    ~ScopedValue() { variable_ = before_; }

  private:
    Value& variable_;
    Value before_;
};

}  // namespace vss
