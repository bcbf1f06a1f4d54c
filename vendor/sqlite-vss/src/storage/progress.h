// Reports to a connection how far long work on a column is: by calling the SQL function vss_progress(table, column,
// stage, done, total), if the connection has one. An error of the function's ends the work, as an interruption does.
//
// Threads: like the connection.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "storage/statement.h"
#include "storage/table_name.h"

namespace vss {

class Progress {
  public:
    // Looks whether anybody listens. `name` must outlive this object.
    Progress(const TableName& name, std::string column);

    // `total` 0: nobody knows. What lies between the first and the last step is said a few times a second.
    Status tell(std::string_view stage, std::uint64_t done, std::uint64_t total);

  private:
    const TableName& name_;
    std::string column_;
    Statement call_;
    std::string stage_;
    std::chrono::steady_clock::time_point called_at_;
};

}  // namespace vss
