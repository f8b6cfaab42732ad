# Loaded before each test of memcached's suite. It takes the place of two things in the suite's library.
package Adapted;
use strict;
use warnings;
use MemcachedTest ();
use IO::Socket::INET;

no warnings 'redefine';

# memcached's debug build moves its clock when it is told to. A release does not, and neither do we: wait instead.
*MemcachedTest::mem_move_time = sub {
    my (undef, $seconds) = @_;
    select undef, undef, undef, $seconds + 1.1;
};

# The library draws ports at random and lets go of them before the server starts. Tests that run at the same time, and the
# system's own choices, could come upon them; so each test has a range of its own, which begins with SUITE_PORTS.
my $port = $ENV{SUITE_PORTS};
*MemcachedTest::free_port = sub {
    my $type = shift || "tcp";
    while (1) {
        my $sock = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port++, Proto => $type);
        return $port - 1 if $sock;
    }
};

1;
