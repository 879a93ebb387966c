// Writes a chip's words, flags and amounts into a weight memory with stuck cells, tile by tile, and puts down every word of the
// network that comes back through what moves words and bits.
//
//   vvp tb +image=A7_as_written.mem +sa0=sa0.mem +sa1=sa1.mem +keys=keys.mem +out=read.mem
module remapped_memory_tb;
    parameter WORDS = 16;
    parameter WORD_BITS = 8;
    parameter TILES = 1;
    parameter SCRAMBLE = 0;
    parameter ROTATE = 0;
    parameter AMOUNT_BITS = 1;
    parameter INVERT = 0;
    localparam SPREAD = ROTATE != 0 ? (AMOUNT_BITS + ROTATE - 1) / ROTATE : 0;
    localparam CELL_BITS = WORD_BITS + (INVERT != 0 ? 1 : 0) + SPREAD;
    localparam ADDRESS_BITS = WORDS > 1 ? $clog2(WORDS) : 1;

    logic clock = 0;
    logic write_enable = 0, start = 0, done;
    logic [ADDRESS_BITS-1:0] write_address = 0, read_address, address = 0;
    logic [CELL_BITS-1:0] write_data = 0, read_data;
    logic [WORD_BITS-1:0] data;
    logic [CELL_BITS-1:0] image [0:WORDS*TILES-1];
    reg [8*1024-1:0] image_file, sa0_file, sa1_file, keys_file, out_file;
    integer out;

    weight_memory #(.WORDS(WORDS), .WORD_BITS(CELL_BITS)) memory (.*);
    remapped_reader #(
        .WORDS(WORDS), .WORD_BITS(WORD_BITS), .SCRAMBLE(SCRAMBLE), .ROTATE(ROTATE), .AMOUNT_BITS(AMOUNT_BITS), .INVERT(INVERT)
    ) reader (.*);

    always #5 clock = ~clock;

    task automatic must_have(input logic found, input [8*16-1:0] name);
        if (!found) begin
            $display("FATAL: no +%0s=FILE", name);
            $finish_and_return(2);
        end
    endtask

    initial begin
        must_have($value$plusargs("image=%s", image_file), "image");
        must_have($value$plusargs("sa0=%s", sa0_file), "sa0");
        must_have($value$plusargs("sa1=%s", sa1_file), "sa1");
        must_have($value$plusargs("out=%s", out_file), "out");
        if (SCRAMBLE != 0) must_have($value$plusargs("keys=%s", keys_file), "keys");
        #1;  // after the memory has made its masks healthy, and the reader its keys 0
        $readmemh(sa0_file, memory.stuck_at_0);
        $readmemh(sa1_file, memory.stuck_at_1);
        $readmemh(image_file, image);
        if (SCRAMBLE != 0) $readmemh(keys_file, reader.keys);
        out = $fopen(out_file, "w");
        if (out == 0) begin
            $display("FATAL: cannot write %0s", out_file);
            $finish_and_return(2);
        end
        for (int tile = 0; tile < TILES; tile++) begin
            for (int word = 0; word < WORDS; word++) begin
                @(negedge clock);
                write_enable = 1;
                write_address = word;
                write_data = image[tile * WORDS + word];
            end
            @(negedge clock);
            write_enable = 0;
            for (int word = 0; word < WORDS; word++) begin
                address = word;
                start = 1;
                @(negedge clock);
                start = 0;
                while (!done) @(negedge clock);
                $fdisplay(out, "%h", data);
            end
        end
        $fclose(out);
        $finish;
    end
endmodule
