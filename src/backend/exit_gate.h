// SPDX-License-Identifier: Apache-2.0 OR MIT
// Keeps the end of the process from destroying a library's state under a thread that is inside it.
// Calls into such a library hold a Pass; when main returns or the main thread calls exit(), those
// under way are waited for and no new one is given.
#pragma once

namespace rapt {

class ExitGate {
 public:
  class Pass {
   public:
    Pass();
    ~Pass();
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    // False: the process is ending, stay out.
    [[nodiscard]] bool given() const { return given_; }

   private:
    bool given_;
  };

  // Sets the gate up where the caller is the main thread. Done once as rapt is loaded; again by
  // what starts threads, for programs that load rapt in another thread than the main one.
  static void arm();
};

}  // namespace rapt
