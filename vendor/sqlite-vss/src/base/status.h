// A small result value: what went wrong, in words, without exceptions.
//
// Ownership: a Status owns its message. Threads: a value type, no shared state.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace vss {

enum class Code {
    ok,
    invalid,     // the caller's value or declaration is wrong; nothing was changed
    constraint,  // a uniqueness rule of the table would be broken; nothing was changed
    corrupt,     // stored bytes are not what this library writes
    io,          // SQLite refused a read or a write; `sqlite_code` holds its result code
    no_memory,
    too_big,
    interrupted,
    unsupported,  // valid, but not on this SQLite version or build
    internal,
};

class [[nodiscard]] Status {
  public:
    Status() = default;
    Status(Code code, std::string message, int sqlite_code = 0)
        : code_(code), sqlite_code_(sqlite_code), message_(std::move(message)) {}

    static Status ok() { return {}; }
    static Status invalid(std::string message) { return {Code::invalid, std::move(message)}; }
    static Status corrupt(std::string message) { return {Code::corrupt, std::move(message)}; }

    [[nodiscard]] bool is_ok() const { return code_ == Code::ok; }
    [[nodiscard]] Code code() const { return code_; }
    // The SQLite result code to hand to SQLite for this status.
    [[nodiscard]] int sqlite_code() const;
    // SQLite's own (extended) code where a call to SQLite failed, else 0.
    [[nodiscard]] int extended_code() const { return sqlite_code_; }
    [[nodiscard]] const std::string& message() const { return message_; }

  private:
    Code code_ = Code::ok;
    int sqlite_code_ = 0;
    std::string message_;
};

// Returns early with a failed status.
#define VSS_TRY(expr)                           \
    do {                                        \
        ::vss::Status vss_try_status_ = (expr); \
        if (!vss_try_status_.is_ok()) {         \
            return vss_try_status_;             \
        }                                       \
    } while (false)

}  // namespace vss
