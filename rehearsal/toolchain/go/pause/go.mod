module wan-vace/toolchain/pause

go 1.26
