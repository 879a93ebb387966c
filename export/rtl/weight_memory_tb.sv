// Writes a memory image into a weight memory with stuck cells, tile by tile, and puts down every word that it reads back.
//
//   vvp tb +image=weights_as_written.mem +sa0=sa0.mem +sa1=sa1.mem +out=read.mem
module weight_memory_tb;
    parameter WORDS = 16;
    parameter WORD_BITS = 8;
    parameter TILES = 1;
    localparam ADDRESS_BITS = WORDS > 1 ? $clog2(WORDS) : 1;

    logic clock = 0;
    logic write_enable = 0;
    logic [ADDRESS_BITS-1:0] write_address = 0, read_address = 0;
    logic [WORD_BITS-1:0] write_data = 0, read_data;
    logic [WORD_BITS-1:0] image [0:WORDS*TILES-1];
    reg [8*1024-1:0] image_file, sa0_file, sa1_file, out_file;
    integer out;

    weight_memory #(.WORDS(WORDS), .WORD_BITS(WORD_BITS)) memory (.*);

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
        #1;  // after the memory has made its masks healthy
        $readmemh(sa0_file, memory.stuck_at_0);
        $readmemh(sa1_file, memory.stuck_at_1);
        $readmemh(image_file, image);
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
                read_address = word;
                @(negedge clock);  // the edge in between has put the word into the register
                $fdisplay(out, "%h", read_data);
            end
        end
        $fclose(out);
        $finish;
    end
endmodule
