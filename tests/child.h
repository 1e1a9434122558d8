// SPDX-License-Identifier: Apache-2.0 OR MIT
// Processes for tests: a body run in a forked child, whose answer is its exit code.
#pragma once
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace rapt::test {

class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ == 0) run(body);
  }

  void kill() const { ::kill(pid_, SIGKILL); }

  // The exit code, or minus the signal that ended it.
  int wait() const {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  // Never returns: the child is not to go on with the tests.
  [[noreturn]] static void run(const std::function<int()>& body) {
    int code = 255;
    try {
      code = body();
    } catch (...) {  // the code says it
    }
    _exit(code);
  }

  pid_t pid_;
};

// One process tells another that something has happened.
class Signal {
 public:
  Signal() {
    if (pipe2(ends_, O_CLOEXEC) != 0) _exit(1);
  }
  ~Signal() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  void send() const {
    const char byte = 1;
    if (write(ends_[1], &byte, 1) != 1) _exit(1);
  }
  void await() const {
    char byte = 0;
    if (read(ends_[0], &byte, 1) != 1) _exit(1);
  }

 private:
  int ends_[2] = {-1, -1};
};

// Gives up root, for whom no directory is read-only.
inline bool become_nobody() { return geteuid() != 0 || setuid(65534) == 0; }

}  // namespace rapt::test
